-- What a group of jobs must find before anything of it is stored.
--
-- use    dedup family job links opening
-- wire   W-75 W-76
local admit = {}

-- Name the key that keeps a job out by the type of what it holds.
local function misfit(row)
  local fault = opening.fault(row.queue)
  if fault or row.deid == "" then
    return fault
  end
  local owner, kept = dedup.owner(row.queue, row.deid), dedup.next(row.queue, row.deid)
  if not opening.holds(row.queue.active, "list") then
    return row.queue.active
  end
  return not opening.holds(owner, "string") and owner or not opening.holds(kept, "hash") and kept
end

-- Say why a job cannot have the parent that it names; it may stand before it in its group.
local function without_parent(row, planned, alive)
  local is_new = planned[row.parent] ~= nil
  row.known = not is_new and row.id ~= ""
  if alive[row.parent] then
    return
  end
  local type = is_new and "hash" or call("TYPE", row.parent).ok
  if type == "none" then
    return "no-parent", row.parent
  end
  local fault = type ~= "hash" and row.parent or opening.fault(job.split(row.parent))
    or family.misfit(row.parent)
  if fault then
    return "misfit", fault
  end
  alive[row.parent] = true
end

-- Say whether a job is the parent that it would get, or stands above it.
local function is_above(key, parent, planned)
  local at, seen = parent, {}
  while at and at ~= "" and not seen[at] do
    if at == key then
      return true
    end
    seen[at] = true
    at = planned[at] and planned[at] ~= "" and planned[at]
      or links.is_job(at) and job.read(at, "parentKey")[1]
  end
  return false
end

-- Say why an id cannot be used; one whose job has another parent that lives is not shared.
local function taken(row, key, planned)
  local above, there = planned[key], true
  if not above then
    local type = call("TYPE", key).ok
    if type ~= "none" and type ~= "hash" then
      return "misfit", key
    end
    there = type == "hash"
    above = there and call("HGET", key, "parentKey") or ""
    if above ~= "" and not planned[above] and not (links.is_job(above) and call("EXISTS", above) == 1) then
      above = ""
    end
    for _, role in ipairs(there and row.parent ~= "" and { "completed", "failed" } or {}) do
      if not opening.holds(row.queue[role], "zset") then
        return "misfit", row.queue[role]
      end
    end
  end
  if row.parent ~= "" and above ~= "" and above ~= row.parent then
    return "taken", key
  elseif row.parent ~= "" and there and is_above(key, row.parent, planned) then
    return "cycle", key
  end
  -- A job with a dedup key may not be stored in the end, so that nothing can count on it.
  if row.deid == "" then
    planned[key] = row.parent ~= "" and row.parent or above
  end
end

-- Mark the jobs below a parent of their group that exists already: its tree is stored.
local function skip_stored(rows, first, last)
  local before, stood = {}, {}
  for i = first, last do
    local row = rows[i]
    row.skip = stood[row.parent]
    if row.waits ~= "" and row.id ~= "" then
      local key = row.queue.base .. row.id
      stood[key] = row.skip or before[key] or call("EXISTS", key) == 1
      before[key] = true
    end
  end
end

-- Say why one job cannot be stored, in a word, and which key is in the way.
local function refusal(row, planned, alive)
  local word, key = nil, misfit(row)
  if key then
    return "misfit", key
  end
  if row.parent ~= "" then
    word, key = without_parent(row, planned, alive)
  end
  if not word and row.id ~= "" then
    word, key = taken(row, row.queue.base .. row.id, planned)
  end
  return word, key
end

-- Say why a group cannot be stored, in a word, and which key is in the way.
function admit.refuse(rows, first, last)
  local planned, alive = {}, {}
  skip_stored(rows, first, last)
  for i = first, last do
    if not rows[i].skip then
      local word, key = refusal(rows[i], planned, alive)
      if word then
        return word, key
      end
    end
  end
end

return admit

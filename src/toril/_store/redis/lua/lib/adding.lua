-- Groups of jobs: store all of one, or nothing.
--
-- use    admit alone duplicate enqueue event family opening room
-- emits  duplicated
-- wire   W-74 W-76
local adding = {}

-- Children that had failed before they were linked: what `family.fail` is told of each, once the
-- whole group is stored.
local failed = {}

-- Give a job that exists to another parent, with its result if it has one already.
local function attach(row, key)
  local nth = enqueue.nth(row.parent)
  call("HSET", key, "parentKey", row.parent, "parent", row.link, "toril:nth", nth)
  if call("ZSCORE", row.queue.completed, row.id) then
    call("HSET", row.parent .. ":processed", key, call("HGET", key, "returnvalue") or "null")
    return
  end
  enqueue.join(row.parent, key, true)
  if call("ZSCORE", row.queue.failed, row.id) then
    local reason = call("HGET", key, "failedReason") or "failed"
    failed[#failed + 1] = { row.parent, row.link, key, reason }
  end
end

-- Store one job, or find who stands for it; give its id, and a word.
local function place_one(row, now)
  local q, id = row.queue, enqueue.number(row.queue, row.id)
  local key = q.base .. id
  if row.skip then
    return id, "duplicate"
  elseif row.id ~= "" and call("EXISTS", key) == 1 then
    if row.parent ~= "" then
      attach(row, key)
    end
    event.emit(q, "duplicated", "jobId", id)
    return id, "duplicate"
  end
  if row.deid ~= "" then
    local holder, word = duplicate.take(q, row, id, now)
    if holder then
      return holder, word
    end
  end
  enqueue.store(q, id, row, now)
  return id, "added"
end

-- Release parents that turn out to have nothing to wait for: a child may be completed already, or
-- another job stands for it.
local function settle(rows, first, last, now)
  local seen = {}
  for i = first, last do
    local parent = rows[i].parent
    if parent ~= "" and not seen[parent] and not rows[i].skip then
      seen[parent] = true
      alone.beside(family.release_settled, parent, now)
    end
  end
end

-- Say whether a queue of a group bounds how many jobs wait.
local function bounded(rows, first, last)
  for i = first, last do
    if opening.most(rows[i].queue) then
      return true
    end
  end
  return false
end

-- Store a group; give ids and words by turns, or a word and a key when it is refused.
function adding.group(rows, first, last, now)
  local word, key = admit.refuse(rows, first, last)
  if word then
    return { { word, key } }
  end
  local full = bounded(rows, first, last) and room.refuse(rows, first, last, now)
  if full then
    return { full }
  end
  local answer, whole = {}, true
  for i = first, last do
    local id, became = place_one(rows[i], now)
    whole = whole and became == "added"
    answer[#answer + 1], answer[#answer + 2] = id, became
  end
  for _, child in ipairs(failed) do
    alone.beside(family.fail, child[1], child[2], child[3], child[4], now)
  end
  for _, pair in ipairs(duplicate.replaced) do
    alone.beside(family.part, pair[1], pair[2], now)
  end
  failed, duplicate.replaced = {}, {}
  if not whole then
    settle(rows, first, last, now)
  end
  return answer
end

return adding

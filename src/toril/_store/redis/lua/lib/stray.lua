-- Jobs that stand nowhere: their hash is there, and no list or set of their queue has the id.
--
-- Scripts move jobs in one step, toril's and BullMQ's, so nobody sees a job between two places.
--
-- use    event job kinds names numbers place
-- emits  waiting delayed
-- wire   W-57
local stray = {}

local KEYS_A_CALL = 500
local NEEDED = { "name", "data", "opts", "timestamp" }
local SETS = { "completed", "failed", "delayed", "prioritized", "waiting_children" }
local LISTS = { "wait", "active", "paused" }

-- Read the lists of a queue, once a call; nil: they are too long, or a key is of another kind.
local function listed(q, longest)
  if q.listed ~= nil then
    return q.listed or nil
  end
  q.listed = false
  if not pcall(kinds.check, q, kinds.ALL) then
    return nil
  end
  local length, found = 0, {}
  for i = 1, #LISTS do
    length = length + call("LLEN", q[LISTS[i]])
  end
  if length > longest then
    return nil
  end
  for i = 1, #LISTS do
    for _, id in ipairs(call("LRANGE", q[LISTS[i]], 0, -1)) do
      found[id] = true
    end
  end
  q.listed = found
  return found
end

-- Return whether a key is a whole job. One with a lock may be in somebody's hand; those in groups
-- (`gid`) stand in keys of another product.
local function is_job(key)
  local fields = job.read(key, "gid", unpack(NEEDED))
  for i = 1, #NEEDED do
    if not fields[i + 1] then
      return false
    end
  end
  return not fields[1] and call("EXISTS", key .. ":lock") == 0
end

local function stands_nowhere(q, id, longest)
  for i = 1, #SETS do
    if attempt("ZSCORE", q[SETS[i]], id) then
      return false
    end
  end
  local lists = listed(q, longest)
  return lists and not lists[id]
end

-- Look at some keys of the server for strays of these queues. Return them, each with the place of
-- its row, and the cursor to go on from.
function stray.find(rows, cursor, pattern, longest)
  local of, found = {}, {}
  for place_of = 1, #rows do
    of[rows[place_of].queue.base] = place_of
  end
  local seen = call("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_A_CALL)
  for _, key in ipairs(seen[2]) do
    local base, id = key:match("^(.-:)(repeat:.+)$")
    if not base then
      base, id = key:match("^(.*:)([^:]+)$")
    end
    local row = of[base]
    if row and names.is_id(id) and is_job(key) and stands_nowhere(rows[row].queue, id, longest) then
      found[#found + 1] = { row, id }
    end
  end
  return found, seen[1]
end

-- Put a stray where its hash says: among those that have ended, or where it may run again.
function stray.put_back(q, id, now)
  local key = q.base .. id
  local fields = job.read(key, "finishedOn", "returnvalue", "failedReason", "ats", "toril:at",
    "delay", "timestamp", "priority")
  local ended, at = numbers.count(fields[1]), numbers.finite(fields[5])
  local added, delay = numbers.finite(fields[7]) or now, numbers.finite(fields[6]) or 0
  at = at or delay > 0 and added + delay
  if ended and (fields[2] or fields[3]) then
    call("ZADD", q[fields[2] and "completed" or "failed"], ended, id)
  elseif call("EXISTS", key .. ":dependencies") == 1 then
    call("ZADD", q.waiting_children, now, id)
  elseif at and at > now and not fields[4] then
    place.delay(q, id, at)
    event.emit(q, "delayed", "jobId", id, "delay", string.format("%.0f", at))
  else
    place.ready(q, id, fields[8])
    event.emit(q, "waiting", "jobId", id)
  end
end

return stray

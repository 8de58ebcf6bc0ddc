-- Take jobs back whose lock is gone; they are next, and the stall is counted.
--
-- keys   queue...
-- args   caller number now limit alone_from
-- each   look: queue
-- use    clock event once tries wake
-- emits  waiting stalled
-- wire   W-54
-- reply  for each job: place of its queue, id, stalls, whether its next claim fails it
local A_CALL = 250
local REASON = "job stalled more than allowable limit"

-- Find the active ids whose lock is gone, the oldest first.
local function lockless(q)
  local ids = call("LRANGE", q.active, -1000, -1)
  local keys, found = {}, {}
  for i = 1, #ids do
    keys[i] = q.base .. ids[i] .. ":lock"
  end
  local locks = #keys > 0 and call("MGET", unpack(keys)) or {}
  for i = #ids, 1, -1 do
    if not locks[i] and #found < A_CALL then
      found[#found + 1] = ids[i]
    end
  end
  return found
end

-- Count the stall of a job. A bystander of a crash is not to blame, only who ran by itself;
-- who was held to run by itself, and had not begun, did not crash anything.
local function charge(key, fields)
  local limit, stalls = tonumber(arg.limit), tonumber(fields[1]) or 0
  local alone = fields[2] == "1"
  if alone or stalls < tonumber(arg.alone_from) then
    stalls = stalls + 1
  end
  local fatal = stalls > limit and (alone or limit == 0)
  call("HSET", key, "stc", stalls)
  call("HDEL", key, "toril:alone")
  if fatal then
    call("HSET", key, "defa", REASON)
  end
  return stalls, fatal
end

local function take_back(q, id, now)
  local key = q.base .. id
  local fields = call("HMGET", key, "stc", "toril:alone", "ats", "pb", "processedOn", "name")
  call("LREM", q.active, -1, id)
  call("SREM", q.stalled, id)
  if not fields[6] then
    return
  end
  call("RPUSH", q.wait, id)
  wake.soon(q)
  local stalls, fatal = charge(key, fields)
  local worker = fields[4] and cjson.encode(fields[4]) or "null"
  local tail = "[" .. worker .. "," .. (fields[5] or "null") .. ',"stalled",null]'
  tries.add(key, tonumber(fields[3]) or 0, now, tail)
  event.emit(q, "waiting", "jobId", id, "prev", "active")
  event.emit(q, "stalled", "jobId", id)
  return stalls, fatal
end

local function main()
  local now, taken = clock.now(arg.now), {}
  for place = 1, #each.look do
    local q = each.look[place].queue
    for _, id in ipairs(lockless(q)) do
      local stalls, fatal = take_back(q, id, now)
      if stalls then
        taken[#taken + 1] = { place, id, stalls, fatal and 1 or 0 }
      end
    end
  end
  wake.all()
  event.trim()
  return taken
end

return once.run(main)

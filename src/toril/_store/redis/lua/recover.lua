-- Take jobs back whose lock is gone, or whose worker is dead; they are next, the stall is counted.
--
-- keys   queue...
-- args   caller number now reason silent cursor pattern longest
-- each   look: queue
-- each   dead: worker how
-- each   blame: below over
-- use    apart clock event limits once pausing stray tally tries wake
-- emits  waiting stalled delayed
-- wire   W-54 W-57 W-150
-- reply  for each job: place of its queue, id, stalls, whether its next claim fails it; the places
--        of queues with a key of another kind, of which no job is taken back; and jobs that wait
--        although their time may be over; jobs that stood nowhere, as place of the queue and id, and the
--        cursor from which the search for them goes on (without one there is none)
local A_CALL = 250
local RUN_ONCE = '"on_crash":"fail"'
local WRITTEN = { "active", "wait", "stalled", "marker", "events", "meta", "limits", "settings", "paused" }

-- How each worker died that is known to be dead.
local died = {}
for i = 1, #each.dead do
  died[each.dead[i].worker] = each.dead[i].how
end

-- Say whether the lock of a job counts no more, for its worker is dead.
local function ownerless(key)
  return next(died) and died[attempt("HGET", key, "pb") or ""]
end

-- Find the active ids whose lock is gone, the oldest first.
local function lockless(q)
  local ids = call("LRANGE", q.active, -1000, -1)
  local keys, found = {}, {}
  for i = 1, #ids do
    keys[i] = q.base .. ids[i] .. ":lock"
  end
  local locks = #keys > 0 and call("MGET", unpack(keys)) or {}
  for i = #ids, 1, -1 do
    if #found < A_CALL and (not locks[i] or ownerless(q.base .. ids[i])) then
      found[#found + 1] = ids[i]
    end
  end
  return found
end

-- Count the stall of a job, as one is blamed that ran beside others, or by itself in this run.
-- Who must not run twice fails whoever is to blame.
local function charge(key, fields, how)
  local stalls, alone = tonumber(fields[1]) or 0, fields[2] and fields[2] == fields[3]
  local blame = each.blame[alone and 2 or 1]
  if stalls < tonumber(blame.below) then
    stalls = stalls + 1
  end
  local once = string.find(fields[7] or "", RUN_ONCE, 1, true)
  local fatal = once or stalls > tonumber(blame.over)
  call("HSET", key, "stc", stalls)
  if fatal then
    call("HSET", key, "defa", arg.reason .. ": " .. how)
  end
  return stalls, fatal
end

-- Take a job back; give how often it crashed, and whether it is to fail; -1 if it is no job.
local function take_back(q, id, now)
  local key = q.base .. id
  local fields = attempt("HMGET", key, "stc", "toril:alone", "ats", "pb", "processedOn", "name",
    "opts")
  call("LREM", q.active, -1, id)
  if fields[6] then
    call("RPUSH", q.wait, id)
  end
  call("DEL", key .. ":lock")
  call("SREM", q.stalled, id)
  if not fields[6] then
    return fields.err and -1
  end
  wake.soon(q)
  local worker = fields[4] and cjson.encode(fields[4]) or "null"
  local how = died[fields[4] or ""] or string.format(arg.silent, fields[4] or "of another kind")
  local stalls, fatal = charge(key, fields, how)
  local rest = (fields[5] or "null") .. ',"stalled",' .. cjson.encode(how)
  local tail = "[" .. worker .. "," .. rest .. "]"
  tries.add(key, tonumber(fields[3]) or 0, now, tail)
  event.emit(q, "waiting", "jobId", id, "prev", "active")
  event.emit(q, "stalled", "jobId", id)
  tally.add(q, fields[6], "s")
  return stalls, fatal
end

local function main()
  local now, taken, overdue = clock.now(arg.now), {}, {}
  local damaged = apart.each(each.look, WRITTEN, function(q, place)
    local damaged = false
    for _, id in ipairs(lockless(q)) do
      local stalls, fatal = take_back(q, id, now)
      damaged = damaged or stalls == -1
      if stalls and stalls >= 0 then
        taken[#taken + 1] = { place, id, stalls, fatal and 1 or 0 }
      end
    end
    limits.overdue(q, place, now, overdue)
    pausing.tidy(q, now)
    return damaged
  end)
  local strays, cursor = {}, arg.cursor
  if cursor ~= "" then
    strays, cursor = stray.find(each.look, cursor, arg.pattern, tonumber(arg.longest))
  end
  for i = 1, #strays do
    stray.put_back(each.look[strays[i][1]].queue, strays[i][2], now)
  end
  wake.all()
  event.close()
  return { taken, damaged, overdue, strays, cursor }
end

return once.run(main)

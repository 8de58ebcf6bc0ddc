-- The ends of jobs: they are stored together, counted by the minute, and bounded.
--
-- use    alone clock keep job limits
-- wire   W-104 W-106
local finished = {}

local MINUTE = 60000
local MINUTES = 20160
local A_PUSH = 1000

-- Note a job that has ended; give whether it is kept at all.
function finished.add(q, state, id, own)
  q.ended = q.ended or { completed = { rules = {}, count = 0 }, failed = { rules = {}, count = 0 } }
  local ended = q.ended[state]
  q.over = q.over or {}
  q.over[#q.over + 1] = id
  ended.count = ended.count + 1
  local count, _, rule = keep.rule(q, state, own)
  if count == 0 then
    return false
  end
  ended[#ended + 1] = clock.text
  ended[#ended + 1] = id
  ended.rules[rule] = own
  return true
end

-- Say how many have ended so far, for `back`.
function finished.so_far(q)
  return q.ended and { #q.ended.completed, #q.ended.failed } or { 0, 0 }
end

-- Forget those that have ended since, because their decision could not be carried out.
function finished.back(q, before)
  for i, state in ipairs({ "completed", "failed" }) do
    local ended = q.ended and q.ended[state] or {}
    for at = #ended, before[i] + 1, -1 do
      ended[at] = nil
    end
  end
end

-- Put in the minutes in which nothing ended: after a long silence they are many.
local function pad(key, count)
  while count > 0 do
    local zeros = {}
    for i = 1, math.min(count, A_PUSH) do
      zeros[i] = "0"
    end
    call("LPUSH", key, unpack(zeros))
    count = count - #zeros
  end
end

-- Count what ended in the minute's place, as BullMQ does when many end in one moment.
local function measure(q, state, count, now)
  local key = q.base .. "metrics:" .. state
  local before = call("HINCRBY", key, "count", count) - count
  local last = call("HMGET", key, "prevTS", "prevCount")
  if not last[1] then
    call("HSET", key, "prevTS", now, "prevCount", 0)
    return
  end
  local passed = math.floor(now / MINUTE) - math.floor(last[1] / MINUTE)
  if passed <= 0 then
    return
  end
  call("LPUSH", key .. ":data", before - last[2])
  pad(key .. ":data", math.min(passed, MINUTES) - 1)
  call("LTRIM", key .. ":data", 0, MINUTES - 1)
  call("HSET", key, "prevTS", now, "prevCount", before)
end

local function bound(q, state, ended, now)
  for _, own in pairs(ended.rules) do
    keep.apply(q, state, own, now)
  end
  if ended.count > 0 then
    measure(q, state, ended.count, now)
  end
end

-- Store what has ended since the last time, and let go what is over the bounds: then it is
-- `closed`. Whoever ends a job has seen that its queue's keys are sound.
function finished.close(now)
  for _, q in pairs(known) do
    local over, found = q.over or {}, q.ended or {}
    q.closed, q.over, q.ended = q.ended or q.closed, nil, nil
    limits.forget(q, over)
    for state, ended in pairs(found) do
      if #ended > 0 then
        call("ZADD", q[state], unpack(ended))
      end
      alone.beside(bound, q, state, ended, now)
    end
  end
end

return finished

-- The marker of a queue: what blocked workers wait for. Written once a call, at its end.
--
-- use    alone numbers
-- wire   W-30 W-31 W-32
local wake = {}

-- Say that a job of this queue may be claimed now.
function wake.soon(q)
  q.woken = true
end

-- Say that the delayed jobs of this queue have changed.
function wake.later(q)
  q.rearmed = true
end

-- Say whether nothing may be claimed: the queue is paused, or as many run as may.
function wake.blocked(q)
  local meta = call("HMGET", q.meta, "paused", "concurrency")
  if meta[1] then
    return true
  end
  local most = numbers.count(meta[2])
  return most and call("LLEN", q.active) >= most
end

-- Give the time at which the next delayed job is due, in ms, or nil.
function wake.next_due(q)
  local first = call("ZRANGE", q.delayed, 0, 0, "WITHSCORES")
  return first[2] and tonumber(first[2]) / 4096
end

local function write(q)
  if q.woken and not wake.blocked(q) then
    call("ZADD", q.marker, 0, "0")
  end
  local due = q.rearmed and wake.next_due(q)
  if due then
    call("ZADD", q.marker, due, "1")
  end
end

-- Write the markers of all queues that this call has touched. What was done stands, also where
-- the marker cannot be written: workers look by themselves before long.
function wake.all()
  for _, q in pairs(known) do
    if q.woken or q.rearmed then
      alone.run(write, q)
    end
  end
end

return wake

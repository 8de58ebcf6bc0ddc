-- Whether the keys that a job passes through, from its claim to its end, can be used.
--
-- A script that fails half way keeps what it has written. So it asks here before its first write.
local sound = {}

-- Fail where a key holds another kind of value. Every call does this, so it has no loop and no
-- table, and keeps what a claim wants to know.
local function touch(q)
  call("LLEN", q.wait)
  call("LLEN", q.active)
  call("ZCARD", q.prioritized)
  q.delays = call("ZCARD", q.delayed) > 0
  call("ZCARD", q.completed)
  call("ZCARD", q.failed)
  call("ZCARD", q.marker)
  call("XLEN", q.events)
  q.limited_by = call("HMGET", q.meta, "paused", "concurrency", "max", "duration")
  call("HLEN", q.settings)
  q.counted = call("GET", q.limiter)
end

-- Return what is wrong with the keys of a queue, or false; looked up once a call.
function sound.fault(q)
  if q.unsound == nil then
    local fine, fault = pcall(touch, q)
    q.unsound = not fine and (type(fault) == "table" and fault.err or tostring(fault))
  end
  return q.unsound
end

return sound

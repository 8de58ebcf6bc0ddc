-- End jobs that wait although their time is over; of the others note when they are to be looked at.
--
-- keys   queue...
-- args   caller number now prefix
-- each   over: queue id run at reason tried
-- use    alone clock event finished limits once settle wake where
-- emits  failed
-- makes  the queues of parents and of dead letters
-- wire   W-20 W-56 W-102
-- reply  how many were looked at; the others are to be sent again
local LOOKS_A_CALL = 200000
local LATER_MS = 5000
local ENDED = { completed = true, failed = true }

local function expire(over, now)
  local q = over.queue
  where.check(q)
  local role, at = where.role(q, over.id), tonumber(over.at)
  if not role or ENDED[role] or not at then
    limits.forget(q, { over.id })
  elseif role == "active" then
    -- Its worker ends it, or lets it wait again.
    call("ZADD", q.limits, now + LATER_MS, over.id)
  elseif now < at then
    call("ZADD", q.limits, at, over.id)
  elseif (call("HGET", q.base .. over.id, "ats") or "0") ~= over.run then
    return -- It has started since somebody looked at it: the next look sees that.
  else
    local prev = where.state(q, over.id)
    where.out(q, role, over.id)
    settle.expire(over, prev, now)
  end
end

local function main()
  local now, looked = clock.now(arg.now), 0
  while looked < #each.over and where.looked < LOOKS_A_CALL do
    looked = looked + 1
    alone.run(expire, each.over[looked], now)
  end
  finished.close(now)
  wake.all()
  event.close()
  return looked
end

return once.run(main)

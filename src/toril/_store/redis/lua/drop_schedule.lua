-- Forget a schedule and the run that it has armed, unless that has started.
--
-- keys   queue
-- args   caller number now id
-- use    clock event once schedule wake
-- emits  removed
-- wire   W-96
-- reply  1 if there was one, else 0
local function main()
  local q = queue[1]
  clock.now(arg.now)
  schedule.disarm(q, arg.id)
  local gone = call("ZREM", q.schedules, arg.id) + call("DEL", schedule.key(q, arg.id))
  wake.all()
  event.close()
  return gone > 0 and 1 or 0
end

return once.run(main)

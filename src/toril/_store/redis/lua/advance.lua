-- Arm the run after the one that a job is, unless the schedule has moved on or is gone.
--
-- keys   queue
-- args   caller number now id job next
-- use    clock event once plan schedule wake where
-- emits  added waiting delayed duplicated
-- wire   W-92 W-93 W-95
-- reply  nothing, or the time of the run and the fields of the schedule
local function main()
  local q, now, at = queue[1], clock.now(arg.now), tonumber(arg.next)
  where.check(q)
  local hash = schedule.read(q, arg.id)
  if not hash or schedule.armed(q, arg.id) ~= arg.job then
    return false
  end
  if at and plan.allows(hash, at) then
    hash.ic = string.format("%.0f", plan.count(hash) + 1)
    call("HSET", schedule.key(q, arg.id), "ic", hash.ic)
    schedule.arm(q, arg.id, hash, at, now)
  else
    call("HSET", schedule.key(q, arg.id), "toril:over", "1")
  end
  wake.all()
  event.close()
  return schedule.told(q, arg.id)
end

return once.run(main)

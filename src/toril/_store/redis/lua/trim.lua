-- Remove finished jobs that are over their queue's bounds, and old events.
--
-- keys   queue...
-- args   caller number now
-- each   look: queue
-- use    clock event keep once wake
-- wire   W-104 W-105
-- reply  how many jobs went
local function main()
  local now, gone = clock.now(arg.now), 0
  for i = 1, #each.look do
    local q = each.look[i].queue
    for _, state in ipairs({ "completed", "failed" }) do
      local count, age = keep.rule(q, state, "")
      gone = gone + keep.apply(q, state, count, age, now)
    end
    if call("EXISTS", q.events) == 1 then
      q.told = true
    end
  end
  wake.all()
  event.trim()
  return gone
end

return once.run(main)

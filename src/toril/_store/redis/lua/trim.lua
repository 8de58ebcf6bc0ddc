-- Remove finished jobs that are over their queue's bounds, and old events.
--
-- keys   queue...
-- args   caller number now
-- each   look: queue
-- use    clock event keep once wake
-- wire   W-104 W-105
-- reply  how many jobs went
local EVENTS_A_CALL = 1000

-- Cut a stream at its bound, not about there; one that is far over it is cut roughly first.
local function cut(q)
  local limit = call("HGET", q.meta, "opts.maxLenEvents")
  local over = limit and call("XLEN", q.events) - limit or 0
  if over > 0 and over <= EVENTS_A_CALL then
    call("XTRIM", q.events, "MAXLEN", limit)
  end
end

local function main()
  local now, gone = clock.now(arg.now), 0
  for i = 1, #each.look do
    local q = each.look[i].queue
    for _, state in ipairs({ "completed", "failed" }) do
      gone = gone + keep.apply(q, state, "", now) + keep.outlived(q, state, now)
    end
    if call("EXISTS", q.events) == 1 then
      q.told = true
    end
  end
  wake.all()
  event.trim()
  for i = 1, #each.look do
    cut(each.look[i].queue)
  end
  return gone
end

return once.run(main)

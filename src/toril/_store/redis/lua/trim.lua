-- Remove finished jobs that are over their queue's bounds, and old events.
--
-- keys   queue...
-- args   caller number now
-- each   look: queue
-- use    apart clock event keep once wake
-- wire   W-104 W-105
-- reply  how many jobs went, and the places of queues with a key of another kind
local EVENTS_A_CALL = 1000
local WRITTEN = { "completed", "failed", "events", "meta", "settings" }

-- Cut a stream at its bound, not about there; one that is far over it is cut roughly first.
local function cut(q)
  local limit = call("HGET", q.meta, "opts.maxLenEvents")
  local over = limit and call("XLEN", q.events) - limit or 0
  if over > 0 and over <= EVENTS_A_CALL then
    call("XTRIM", q.events, "MAXLEN", limit)
  end
end

local function main()
  local now, gone, sound = clock.now(arg.now), 0, {}
  local damaged = apart.each(each.look, WRITTEN, function(q)
    for _, state in ipairs({ "completed", "failed" }) do
      gone = gone + keep.apply(q, state, "", now) + keep.outlived(q, state, now)
    end
    q.told = q.told or call("EXISTS", q.events) == 1
    sound[#sound + 1] = q
  end)
  wake.all()
  event.trim()
  for i = 1, #sound do
    cut(sound[i])
  end
  return { gone, damaged }
end

return once.run(main)

-- Remove finished jobs that are over their queue's bounds, and old events.
--
-- keys   queue...
-- args   caller number now prefix spare
-- each   look: queue
-- use    apart clock event keep once wake
-- wire   W-104 W-105
-- reply  how many jobs went, and the places of queues with a key of another kind
local EVENTS_A_CALL = 1000
local WRITTEN = { "completed", "failed", "events", "meta", "settings" }

-- Say whether a queue emitted an event so lately that somebody may not have read it yet.
local function busy(q, now)
  local newest = call("XREVRANGE", q.events, "+", "-", "COUNT", 1)[1]
  return newest and now - newest[1]:match("^%d+") < tonumber(arg.spare)
end

-- Cut a stream at its bound, not about there; one that is far over it is cut roughly.
local function cut(q, now)
  local limit = tonumber(call("HGET", q.meta, "opts.maxLenEvents"))
  if not limit or call("EXISTS", q.events) == 0 then
    return
  end
  limit = busy(q, now) and math.max(limit, event.LEAST) or limit
  call("XTRIM", q.events, "MAXLEN", "~", limit)
  local over = call("XLEN", q.events) - limit
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
  event.close()
  for i = 1, #sound do
    cut(sound[i], now)
  end
  return { gone, damaged }
end

return once.run(main)

-- The stream in which a queue tells what happens.
--
-- use    alone clock numbers tally usual
-- wire   W-40 W-41 W-150
local event = {}

local DEFAULT_LIMIT = "10000"
-- A queue that is in use keeps as many, whatever its bound: results of unkept jobs are read here.
event.LEAST = usual.LEAST_EVENTS

-- Append one event: its kind, then names and values. A stream that takes no more costs no job.
function event.emit(q, kind, ...)
  attempt("XADD", q.events, clock.id(), "event", kind, ...)
  q.told = true
end

local function trim(q)
  local limit = call("HGET", q.meta, "opts.maxLenEvents")
  if not limit then
    limit = DEFAULT_LIMIT
    call("HSET", q.meta, "opts.maxLenEvents", limit)
  end
  limit = numbers.count(limit) or tonumber(DEFAULT_LIMIT)
  call("XTRIM", q.events, "MAXLEN", "~", string.format("%.0f", math.max(limit, event.LEAST)))
end

-- Cut the streams that were written to at about their bound, and keep what was counted, once a call.
function event.close()
  for _, q in pairs(known) do
    if q.sample then
      tally.keep(q.base, q.sample)
    end
    if q.told then
      alone.run(trim, q)
    end
  end
end

return event

-- The stream in which a queue tells what happens.
--
-- use    alone clock numbers
-- wire   W-40 W-41
local event = {}

local DEFAULT_LIMIT = "10000"
-- A queue that is in use keeps as many, whatever its bound: results of unkept jobs are read here.
event.LEAST = 1000

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

-- Cut the streams that were written to at about their bound, once a call.
function event.trim()
  for _, q in pairs(known) do
    if q.told then
      alone.run(trim, q)
    end
  end
end

return event

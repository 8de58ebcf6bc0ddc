-- What holds for a whole queue, as it is told to readers.
--
-- use    numbers
-- wire   W-05 W-51 W-130
local rules = {}

-- Say until when nobody may start a job of this queue, or false. Where only workers have a limit,
-- the server does not know how high it is: an open window counts.
local function limited_until(q, most, now)
  local used = tonumber(call("GET", q.limiter) or 0) or 0
  if used >= BY_HAND or used >= (most or 1) then
    local left = call("PTTL", q.limiter)
    return left > 0 and now + left
  end
  return false
end

-- Give what holds for a queue now, in the order in which `read.py` takes it.
function rules.of(q, now)
  local meta = call("HMGET", q.meta, "paused", "concurrency", "max", "duration", "opts.maxLenEvents")
  local own = call("HMGET", q.settings, "keep_completed", "keep_failed", "dead_letter", "bounded",
    "declared", "max_waiting", "pause", "pause_since", "pause_until")
  local id = attempt("GET", q.id)
  -- A queue that toril did not make keeps all, unless somebody said otherwise.
  local usual = not own[4] and call("EXISTS", q.meta) == 1 and ":"
  return {
    meta[1] and 1 or 0, meta[2], meta[3], meta[4], limited_until(q, numbers.count(meta[3]), now),
    own[1] or usual, own[2] or usual, own[3], meta[5],
    type(id) == "string" and numbers.count(id) and id or false, own[5], own[6],
    meta[1] and own[7], meta[1] and own[8], meta[1] and own[9],
  }
end

return rules

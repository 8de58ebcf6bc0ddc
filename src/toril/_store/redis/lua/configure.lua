-- Change what holds for a queue, making it when it is not there.
--
-- An empty argument leaves a setting alone, "-" clears it.
--
-- keys   queue
-- args   caller number now paused concurrency max duration limit completed failed letters events most declared note since ends
-- use    clock event once opening pausing rules wake
-- emits  paused
-- makes  marker limiter
-- wire   W-04 W-31 W-51 W-104 W-130 W-131 W-132 W-133 W-136
-- reply  what holds now, and how many ids a legacy list still holds
local q = queue[1]

local function put(key, field, value)
  if value == "-" then
    call("HDEL", key, field)
  elseif value ~= "" then
    call("HSET", key, field, value)
  end
end

local function pause()
  if call("HSETNX", q.meta, "paused", "1") == 1 then
    call("DEL", q.marker)
    event.emit(q, "paused")
  end
  pausing.note(q, arg.note, arg.since ~= "" and arg.since or clock.text, arg.ends)
  return 0
end

local function by_hand()
  return tonumber(call("GET", q.limiter) or 0) >= BY_HAND
end

-- A new rate opens a window of its own; a limit set by hand is another matter.
local function limit()
  put(q.meta, "max", arg.max)
  put(q.meta, "duration", arg.duration)
  if arg.max ~= "" and not by_hand() then
    call("DEL", q.limiter)
  end
  if arg.limit == "0" and by_hand() then
    call("DEL", q.limiter)
  elseif arg.limit ~= "" and arg.limit ~= "0" then
    call("SET", q.limiter, string.format("%.0f", BY_HAND), "PX", arg.limit)
  end
end

-- Let whoever waits look when jobs may start: now, or when a limit set by hand or a pause ends.
local function look_again(now)
  local ready = call("LLEN", q.wait) + call("ZCARD", q.prioritized) > 0
  local until_ms = by_hand() and now + call("PTTL", q.limiter) or pausing.ends(q)
  if not until_ms then
    q.woken, q.rearmed = ready, true
    return
  end
  call("ZREM", q.marker, "0")
  local due = wake.next_due(q)
  if ready or due or pausing.ends(q) then
    call("ZADD", q.marker, ready and until_ms or math.max(due or 0, until_ms), "1")
  end
end

local function main()
  local now, left = clock.now(arg.now), 0
  opening.open(q)
  put(q.meta, "concurrency", arg.concurrency)
  put(q.meta, "opts.maxLenEvents", arg.events)
  put(q.settings, "keep_completed", arg.completed)
  put(q.settings, "keep_failed", arg.failed)
  put(q.settings, "dead_letter", arg.letters)
  put(q.settings, "max_waiting", arg.most)
  put(q.settings, "declared", arg.declared)
  limit()
  if arg.paused ~= "" then
    left = arg.paused == "1" and pause() or pausing.resume(q)
  end
  look_again(now)
  wake.all()
  event.close()
  return { rules.of(q, now), left }
end

return once.run(main)

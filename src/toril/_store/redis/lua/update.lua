-- Change jobs: data, progress, delay, priority; part one from its parent or its dedup key.
--
-- keys   queue...
-- args   caller number now prefix
-- each   patch: queue id token data progress delay priority lifo parent dedup alone
-- use    alone clock dedup event family job once place wake where
-- emits  progress delayed waiting
-- wire   W-20 W-42 W-52 W-119
-- reply  for each patch: done · missing · lost · a fault · the state that its delay cannot be changed in;
--        what is missing at the end was not looked at
local LOOKS_A_CALL = 200000

local function refusal(q, patch, key)
  if not job.exists(key) then
    return "missing"
  elseif patch.token ~= "" and call("GET", key .. ":lock") ~= patch.token then
    return "lost"
  elseif patch.delay ~= "" and not call("ZSCORE", q.delayed, patch.id) then
    return where.state(q, patch.id)
  end
end

-- Change a priority, and the place of a job that is ready: the end of its class, or the front.
local function prioritize(q, patch, key)
  call("HSET", key, "priority", patch.priority)
  if where.out_of_ready(q, patch.id) then
    place.ready(q, patch.id, patch.priority, patch.lifo == "1")
  end
end

local function delay(q, patch, key, now)
  local due = now + tonumber(patch.delay)
  where.out(q, "delayed", patch.id)
  call("HSET", key, "delay", patch.delay)
  place.delay(q, patch.id, due)
  event.emit(q, "delayed", "jobId", patch.id, "delay", due)
end

local function write(q, patch, key)
  if patch.data ~= "" then
    call("HSET", key, "data", patch.data)
  end
  if patch.progress ~= "" then
    call("HSET", key, "progress", patch.progress)
    event.emit(q, "progress", "jobId", patch.id, "data", patch.progress)
  end
  if patch.alone == "1" then
    call("HSET", key, "toril:alone", call("HGET", key, "ats") or "0")
  elseif patch.alone == "0" then
    call("HDEL", key, "toril:alone")
  end
end

local function let_go(q, patch, key, now)
  local fields = call("HMGET", key, "parentKey", "deid")
  if patch.parent == "1" and fields[1] then
    call("HDEL", key, "parentKey", "parent")
    alone.beside(family.part, fields[1], key, now)
  end
  if patch.dedup == "1" and fields[2] then
    call("HDEL", key, "deid")
    alone.beside(dedup.free, q, fields[2], patch.id, now)
  end
end

local function change(patch, now)
  local q, key = patch.queue, patch.queue.base .. patch.id
  where.check(q)
  local word = refusal(q, patch, key)
  if word then
    return word
  end
  write(q, patch, key)
  if patch.priority ~= "" then
    prioritize(q, patch, key)
  end
  if patch.delay ~= "" then
    delay(q, patch, key, now)
  end
  let_go(q, patch, key, now)
  return "done"
end

local function main()
  local now, answers = clock.now(arg.now), {}
  while #answers < #each.patch and where.looked < LOOKS_A_CALL do
    answers[#answers + 1] = alone.run(change, each.patch[#answers + 1], now)
  end
  wake.all()
  event.close()
  return answers
end

return once.run(main)

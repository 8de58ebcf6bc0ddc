-- Add samples up in buckets of five minutes, an hour and a day: fields of one hash, in JSON.
--
-- A field is <span>:<number of the bucket>:<task>; the task is empty for the whole queue.
--
-- use    faults
-- wire   W-151 W-152 W-153
local fold = {}

local SPANS = { { "5", 300000, 576 }, { "h", 3600000, 720 }, { "d", 86400000, 400 } }
local MINUTE = 60000
local MOST_TASKS = 50
local OTHERS = "(other)"
-- How many buckets over age are deleted at once, of each span.
local GONE_A_FOLD = 12

local function read(text)
  local done, found = pcall(cjson.decode, text or "{}")
  return done and type(found) == "table" and found or {}
end

local function add(sums, key, name, number)
  local into = sums[key]
  if not into then
    into = {}
    sums[key] = into
  end
  into[name] = (into[name] or 0) + number
end

-- Return the names of tasks that are counted apart, and a function that finds the one for a name.
local function tasks_of(series)
  local tasks, known_task = read(call("HGET", series, "tasks")), {}
  for i = 1, #tasks do
    known_task[tasks[i]] = true
  end
  return tasks, function(name)
    if not known_task[name] then
      if name == OTHERS or #tasks >= MOST_TASKS then
        return OTHERS
      end
      tasks[#tasks + 1], known_task[name] = name, true
    end
    return name
  end
end

-- Add a sample to those of the same minute; tasks are listed in the order in which they came.
local function gather(lines, at, text)
  local minute = math.floor(at / MINUTE)
  for name, numbers in pairs(read(text)) do
    local key = string.format("%.0f ", minute) .. name
    local line = lines[key]
    if not line then
      line = { minute = minute, name = name, numbers = {} }
      lines[key], lines[#lines + 1] = line, line
    end
    for what, number in pairs(numbers) do
      line.numbers[what] = (line.numbers[what] or 0) + number
    end
  end
end

-- Add what a minute counted of a task to the sums of the queue and of that task.
local function spread(sums, minute, task, numbers)
  for i = 1, #SPANS do
    local lead = SPANS[i][1] .. string.format(":%.0f:", math.floor(minute * MINUTE / SPANS[i][2]))
    local within = i == 1 and string.format("%.0f", minute % 5) or ""
    for key, number in pairs(numbers) do
      local full = #key == 1 and within .. key or key
      add(sums, lead, full, number)
      add(sums, lead .. task, full, number)
    end
  end
end

-- Delete buckets that are over their age, a few at a time.
local function forget(series, tasks, oldest, now)
  for i = 1, #SPANS do
    local mark = "from:" .. SPANS[i][1]
    local first = math.floor(now / SPANS[i][2]) - SPANS[i][3]
    local from = tonumber(call("HGET", series, mark) or math.floor(oldest / SPANS[i][2]))
    local last = math.min(first, from + GONE_A_FOLD)
    for bucket = from, last - 1 do
      local lead = SPANS[i][1] .. string.format(":%.0f:", bucket)
      local gone = { lead, lead .. OTHERS }
      for j = 1, #tasks do
        gone[#gone + 1] = lead .. tasks[j]
      end
      call("HDEL", series, unpack(gone))
    end
    call("HSET", series, mark, string.format("%.0f", math.max(last, from)))
  end
end

-- Add all samples of a queue up.
function fold.samples(base)
  local series, sums = base .. "toril:series", {}
  local samples = call("LRANGE", base .. "toril:samples", 0, -1)
  local tasks, task_of = tasks_of(series)
  local groups, lines = {}, {}
  for i = 1, #samples do
    local at, blamed, text = samples[i]:match("^(%d+) (!?)(.*)$")
    if at and blamed ~= "" then
      faults.add(base, groups, tonumber(at), text)
    elseif at then
      gather(lines, tonumber(at), text)
    end
  end
  for i = 1, #lines do
    spread(sums, lines[i].minute, task_of(lines[i].name), lines[i].numbers)
  end
  faults.keep(base, groups)
  for field, numbers in pairs(sums) do
    local found = read(call("HGET", series, field))
    for key, number in pairs(numbers) do
      found[key] = (found[key] or 0) + number
    end
    call("HSET", series, field, cjson.encode(found))
  end
  call("HSET", series, "tasks", cjson.encode(tasks))
  local oldest, newest = (samples[1] or ""):match("^%d+"), (samples[#samples] or ""):match("^%d+")
  if oldest and newest then
    forget(series, tasks, tonumber(oldest), tonumber(newest))
  end
  call("DEL", base .. "toril:samples")
end

return fold

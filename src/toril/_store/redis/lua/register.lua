-- Note that queues exist, but for those that stand in each other's way: one name and a colon are
-- the beginning of the other.
--
-- keys   registry
-- each   queue_name: text
-- wire   W-05 W-124
-- reply  for each name: the queue that is in its way, or the empty text
local all = queue[1].base .. "toril:queues"

-- Give a queue with whose name, and a colon, this one begins.
local function leader(name)
  local colon = name:find(":", 1, true)
  while colon do
    local lead = name:sub(1, colon - 1)
    if call("SISMEMBER", all, lead) == 1 then
      return lead
    end
    colon = name:find(":", colon + 1, true)
  end
end

-- Give a queue whose name begins with this one and a colon.
local function follower(name)
  local names = call("SMEMBERS", all)
  for i = 1, #names do
    if names[i]:sub(1, #name + 1) == name .. ":" then
      return names[i]
    end
  end
end

local function register(name)
  if call("SISMEMBER", all, name) == 1 then
    return ""
  end
  local other = leader(name) or follower(name)
  if not other then
    call("SADD", all, name)
  end
  return other or ""
end

local answers = {}
for i = 1, #each.queue_name do
  answers[i] = register(each.queue_name[i].text)
end
return answers

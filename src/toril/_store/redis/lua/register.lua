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

-- By the beginnings of names, one that begins so; all names are read once a call.
local followers

-- Note what a name begins with.
local function note(name)
  local colon = name:find(":", 1, true)
  while colon do
    followers[name:sub(1, colon - 1)] = name
    colon = name:find(":", colon + 1, true)
  end
end

-- Note what all names begin with.
local function note_all()
  local names = call("SMEMBERS", all)
  followers = {}
  for i = 1, #names do
    note(names[i])
  end
end

-- Give a queue whose name begins with this one and a colon.
local function follower(name)
  if not followers then
    note_all()
  end
  return followers[name]
end

local function register(name)
  if call("SISMEMBER", all, name) == 1 then
    return ""
  end
  local other = leader(name) or follower(name)
  if not other then
    call("SADD", all, name)
    note(name)
  end
  return other or ""
end

local answers = {}
for i = 1, #each.queue_name do
  answers[i] = register(each.queue_name[i].text)
end
return answers

-- The hash of a job, its lock, and the keys beside it.
--
-- use    limits names search usual
-- wire   W-20 W-21
local job = {}

local ROUND = 150

job.FIELDS = usual.FIELDS

local NOTHING = {}
-- Read fields of a job; none if its key holds another kind of value.
function job.read(key, ...)
  local found = attempt("HMGET", key, ...)
  if not found.err then
    return found
  end
  -- Every other error, such as a missing right, is raised.
  return found.err:find("WRONGTYPE", 1, true) and NOTHING or call("HMGET", key, ...)
end

-- Return whether a job exists, however little of it.
function job.exists(key)
  local fields = attempt("HLEN", key)
  return type(fields) == "number" and fields > 0
end

-- Delete these jobs with everything beside them but their locks; give how many keys went.
function job.forget(q, ids)
  local keys, gone = {}, 0
  limits.forget(q, ids)
  search.forget(q, ids)
  for i = 1, #ids do
    for j = 1, names.is_id(ids[i]) and #usual.BESIDE or 0 do
      keys[#keys + 1] = q.base .. ids[i] .. usual.BESIDE[j]
    end
    if #keys > 0 and (i % ROUND == 0 or i == #ids) then
      gone = gone + call("DEL", unpack(keys))
      keys = {}
    end
  end
  return gone
end

-- Split the key of a job into its queue and its id. The ids of a schedule's runs have colons.
function job.split(key)
  local base, id = key:match("^(.-:)(repeat:.+)$")
  if not base then
    base, id = key:match("^(.*:)([^:]*)$")
  end
  return queue_of(base), id
end

return job

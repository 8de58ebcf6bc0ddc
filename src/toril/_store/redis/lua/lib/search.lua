-- Jobs by declared fields of their data, and by tags: one sorted set a queue, in order of its texts.
--
-- A text is <field>, <value>, when the job was added (13 digits) and its id, with a zero byte between.
--
-- wire   W-156
local search = {}

local function read(text)
  local done, fields = pcall(cjson.decode, text or "[]")
  return done and type(fields) == "table" and fields or {}
end

local function texts(id, text, created)
  local found, tail = {}, string.format("\0%013.0f\0", created) .. id
  for i, pair in ipairs(read(text)) do
    found[i] = tostring(pair[1]) .. "\0" .. tostring(pair[2]) .. tail
  end
  return found
end

-- Let a job be found by its fields.
function search.add(q, id, text, created)
  local flat = {}
  for i, each in ipairs(texts(id, text, created)) do
    flat[2 * i - 1], flat[2 * i] = "0", each
  end
  if #flat > 0 then
    attempt("ZADD", q.base .. "toril:index", unpack(flat))
  end
end

-- Forget jobs that are to be deleted; where no job has fields, that is one look.
function search.forget(q, ids)
  local key = q.base .. "toril:index"
  if attempt("EXISTS", key) ~= 1 then
    return
  end
  for i = 1, #ids do
    local found = attempt("HMGET", q.base .. ids[i], "toril:index", "timestamp")
    local gone = found[1] and texts(ids[i], found[1], tonumber(found[2]) or 0) or {}
    if #gone > 0 then
      attempt("ZREM", key, unpack(gone))
    end
  end
end

return search

-- For wrk: compares each answer with the file that its first argument names, apart from what the second, a Lua pattern,
-- finds in it.
dofile("summary.lua")

function init(arguments)
    local file = io.open(arguments[1], "rb")
    expected, varies, wrong = file:read("*a"), arguments[2], 0
    file:close()
    if varies ~= "" then
        expected = expected:gsub(varies, "")
    end
end

function response(status, headers, body)
    if varies ~= "" then
        body = body:gsub(varies, "")
    end
    if status ~= 200 or body ~= expected then
        wrong = wrong + 1
    end
end

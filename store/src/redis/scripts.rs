//! What Redis does as one: the scripts, their arguments and answers.

use ::redis::Cmd;

/// A script, sent as a whole: short enough that asking for it by its hash, and again where a server has not got it, gains nothing.
pub(super) struct Script {
    text: &'static str,
}

impl Script {
    /// The command that runs it.
    pub(super) fn on(&self, keys: &[&[u8]]) -> Cmd {
        let mut command = ::redis::cmd("EVAL");
        command.arg(self.text).arg(keys.len());
        keys.iter().for_each(|key| {
            command.arg(*key);
        });
        command
    }
}

/// Takes over a partition: its progress, and an epoch; returns the epoch that stands there now, and the version.
pub(super) const CLAIM: Script = Script {
    text: "
local found = redis.call('HMGET', KEYS[1], 'epoch', 'version')
local epoch = found[1] or ''
if epoch < ARGV[1] then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
  epoch = ARGV[1]
end
return {epoch, found[2] or ''}",
};

/// Writes meta data unless there is some; returns what is there now.
pub(super) const DESCRIBE: Script = Script {
    text: "
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return redis.call('HGETALL', KEYS[1])",
};

/// Takes a partition over under the next epoch; returns that, and what stands there.
pub(super) const TAKE_OVER: Script = Script {
    text: "
local found = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'state', 'kept')
local epoch = string.format('%020.0f', tonumber(found[1] or '0') + 1)
redis.call('HSET', KEYS[1], 'epoch', epoch)
return {epoch, found[2] or '', found[3] or '', found[4] or ''}",
};

/// Writes hashes of a partition. Keys: its progress, then the hashes. Arguments: epoch; the version that is built upon; the version
/// that is built; kept; marks, empty unless this is the last part; state, if there is one, with the last part; then for each hash whether
/// it is written as a whole, the number of fields, and each with its value; one without a value goes.
///
/// Nothing is written under another epoch, nor on less than what is built upon, nor if it is there already. Returns which it was.
pub(super) const WRITE: Script = Script {
    text: "
local found = redis.call('HMGET', KEYS[1], 'epoch', 'version')
local epoch, version = found[1] or '', found[2] or ''
if epoch ~= ARGV[1] then return {'epoch', epoch} end
if version < ARGV[2] then return {'behind', version} end
if version >= ARGV[3] then return {'old', version} end
redis.call('HSET', KEYS[1], 'kept', ARGV[4])
local at = 7
for key = 2, #KEYS do
  local fields = tonumber(ARGV[at + 1])
  if ARGV[at] == '1' then redis.call('UNLINK', KEYS[key]) end
  at = at + 2
  for _ = 1, fields do
    if ARGV[at + 1] == '' then redis.call('HDEL', KEYS[key], ARGV[at])
    else redis.call('HSET', KEYS[key], ARGV[at], ARGV[at + 1]) end
    at = at + 2
  end
end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'state', ARGV[6]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'version', ARGV[3], 'marks', ARGV[5]) end
return {'written', ARGV[3]}",
};

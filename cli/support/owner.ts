/** Whose files are, as typed: `mapped`, `squash:UID:GID[:HOST_UID:HOST_GID]`, or ranges, of which there may be several. */
import type { Owner } from '../../manager/control/api.js';

type Ranges = Extract<Owner, { type: 'ranges' }>;
type Range = Ranges['uids'][number];

/** 2^32 - 1 is no id. */
const ID_MAX = 2 ** 32 - 2;

/** @throws RangeError with what is wrong with a word */
export function parseOwner(words: readonly string[]): Owner {
  const [first] = words;
  if (/^(user-|group-)?range:/.test(first)) return parseRanges(words);
  if (words.length > 1)
    throw new RangeError(`${quoted(first)} and ${quoted(words[1])}: only ranges may be several`);
  if (first === 'mapped') return { type: 'mapped' };
  if (first.startsWith('squash:')) return parseSquash(first);
  throw new RangeError(`${quoted(first)} says nothing of owners`);
}

function parseSquash(word: string): Owner {
  const ids = numbersOf(word);
  if (ids.length !== 2 && ids.length !== 4) throw new RangeError(`${quoted(word)} is not squash:UID:GID`);
  const guest = { uid: ids[0], gid: ids[1] };
  return { type: 'squash', guest, ...(ids.length === 4 && { host: { uid: ids[2], gid: ids[3] } }) };
}

function parseRanges(words: readonly string[]): Ranges {
  const uids: Range[] = [];
  const gids: Range[] = [];
  for (const word of words) {
    const kind = word.slice(0, word.indexOf(':'));
    const [guest, host, count, ...more] = numbersOf(word);
    if (!/^(user-|group-)?range$/.test(kind) || !(count > 0) || more.length > 0)
      throw new RangeError(`${quoted(word)} is not range:FROM:HOST:COUNT`);
    if (kind !== 'group-range') uids.push({ guest, host, count });
    if (kind !== 'user-range') gids.push({ guest, host, count });
  }
  return { type: 'ranges', uids, gids };
}

/** The numbers behind the first colon. */
function numbersOf(word: string): number[] {
  return word
    .split(':')
    .slice(1)
    .map((part) => {
      const id = /^\d{1,10}$/.test(part) ? Number(part) : NaN;
      if (!(id <= ID_MAX)) throw new RangeError(`${quoted(word)}: ${quoted(part)} is no id`);
      return id;
    });
}

function quoted(word: string): string {
  return JSON.stringify(word);
}

/** As it would be typed. */
export function ownerText(owner: Owner): string {
  if (owner.type === 'mapped') return 'mapped';
  if (owner.type === 'squash') {
    const { guest, host } = owner;
    return `squash:${guest.uid}:${guest.gid}${host ? `:${host.uid}:${host.gid}` : ''}`;
  }
  const { uids, gids } = owner;
  if (JSON.stringify(uids) === JSON.stringify(gids)) return rangesText('range', uids);
  return `${rangesText('user-range', uids)} ${rangesText('group-range', gids)}`;
}

function rangesText(kind: string, ranges: readonly Range[]): string {
  return ranges.map(({ guest, host, count }) => `${kind}:${guest}:${host}:${count}`).join(' ');
}

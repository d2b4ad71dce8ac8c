import { describe, expect, it } from 'vitest';
import type { Event, EventsQuery } from '../../../manager/control/api.js';
import { EventLog } from '../../../manager/events/event-log.js';

/** Tells of a chassis for each name. */
function log(kept: number, ...names: string[]): EventLog {
  const happened = new EventLog(kept);
  for (const name of names) happened.append(name, { type: 'chassis.removed' });
  return happened;
}

/** A listener that takes events when it is asked to. */
class Listener {
  readonly gone = new AbortController();
  private readonly events: AsyncGenerator<Event>;

  constructor(happened: EventLog, query: EventsQuery = {}) {
    this.events = happened.follow(query, this.gone.signal);
  }

  /** So many, by their chassis; a gap by what was missed. */
  async take(count: number): Promise<(string | number)[]> {
    const taken: (string | number)[] = [];
    while (taken.length < count) taken.push(nameOf(await this.next()));
    return taken;
  }

  async next(): Promise<Event> {
    const next = await this.events.next();
    if (next.done) throw new Error('it has ended');
    return next.value;
  }

  ended(): Promise<boolean> {
    return this.events.next().then(({ done }) => done ?? false);
  }
}

function nameOf(event: Event): string | number {
  return event.type === 'gap' ? (event.missed ?? 'an unknown gap') : event.chassis;
}

describe('the event log', () => {
  it('tells each listener what happens from when it began, at its own pace', async () => {
    const happened = log(8, 'before');
    const [one, other] = [new Listener(happened), new Listener(happened)];
    const early = one.take(2);
    happened.append('a', { type: 'chassis.created', slots: 3 });
    happened.append('b', { type: 'vm.gone' });
    expect(await early).toEqual(['a', 'b']);
    expect(await other.next()).toMatchObject({ type: 'chassis.created', chassis: 'a', slots: 3 });
    expect(await other.take(1)).toEqual(['b']);
  });

  it('goes on after the event whose id is given, and after the last one with what is next', async () => {
    const happened = log(8, 'a', 'b', 'c');
    const listener = new Listener(happened, { since: 'start' });
    expect(await listener.take(1)).toEqual(['an unknown gap']);
    const first = await listener.next();
    expect(await new Listener(happened, { since: first.id }).take(2)).toEqual(['b', 'c']);
    await listener.take(1);
    const { id } = await listener.next();
    const latest = new Listener(happened, { since: id }).take(1);
    happened.append('d', { type: 'vm.gone' });
    expect(await latest).toEqual(['d']);
  });

  it('says of an id of another daemon, of one to come, and of nonsense that there is a gap, and then tells all it has', async () => {
    const happened = log(8, 'a', 'b');
    const { id } = await new Listener(happened, { since: '' }).next();
    const daemon = id.slice(0, 8);
    for (const since of ['00000000-1', `${daemon}-3`, `${daemon}-99`, `${daemon}-`, `${daemon}-x`, '1', '']) {
      expect(await new Listener(happened, { since }).take(3)).toEqual(['an unknown gap', 'a', 'b']);
    }
    expect(id).toBe(`${daemon}-0`);
  });

  it('lets who goes on from the id of a gap miss nothing more', async () => {
    const happened = log(8, 'a', 'b');
    const gap = await new Listener(happened, { since: 'x' }).next();
    expect(await new Listener(happened, { since: gap.id }).take(2)).toEqual(['a', 'b']);
  });

  it('loses the oldest for a listener that is too slow, and says how many', async () => {
    const happened = log(4);
    const slow = new Listener(happened);
    const first = slow.take(1);
    happened.append('0', { type: 'vm.gone' });
    expect(await first).toEqual(['0']);
    for (let i = 1; i <= 10; i++) happened.append(String(i), { type: 'vm.gone' });
    expect(await slow.take(5)).toEqual([6, '7', '8', '9', '10']);
    const old = new Listener(happened, { since: (await new Listener(happened, { since: '' }).next()).id });
    expect(await old.take(1)).toEqual(['7']);
  });

  it('says of an id that was pushed out how many came since then that are lost', async () => {
    const happened = log(4, 'a');
    const listener = new Listener(happened, { since: '' });
    await listener.next();
    const { id } = await listener.next();
    for (let i = 1; i <= 6; i++) happened.append(String(i), { type: 'vm.gone' });
    const late = new Listener(happened, { since: id });
    expect(await late.next()).toMatchObject({ type: 'gap', missed: 2 });
    expect(await late.take(4)).toEqual(['3', '4', '5', '6']);
  });

  it('tells of one chassis alone where that is asked for, gaps included', async () => {
    const happened = log(4, 'a', 'b', 'a', 'b', 'a');
    expect(await new Listener(happened, { chassis: 'b', since: '' }).take(3)).toEqual([
      ...['an unknown gap', 'b', 'b'],
    ]);
  });

  it('ends for a listener that goes, and for all once it is closed', async () => {
    const happened = log(4);
    const [leaving, staying] = [new Listener(happened), new Listener(happened)];
    const [left, stayed] = [leaving.ended(), staying.ended()];
    leaving.gone.abort();
    expect(await left).toBe(true);
    happened.close();
    expect(await stayed).toBe(true);
    expect(await new Listener(happened).ended()).toBe(true);
  });
});

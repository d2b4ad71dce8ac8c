import { describe, expect, it } from 'vitest';
import { AUDIT_PAGE, AuditLog } from '../../../manager/device-process/audit-log.js';

function events(count: number, path = '/x') {
  return Array.from({ length: count }, () => ({ operation: 'walk', path, errno: 2, timeMs: 1 }));
}

describe('the log of an audit', () => {
  it('gives what is new since the last answer', () => {
    const log = new AuditLog();
    log.note(events(2, '/a'), 0);
    const first = log.page(0);
    expect(first).toMatchObject({ dropped: 0, next: 2, events: [{ path: '/a' }, { path: '/a' }] });
    log.note(events(1, '/b'), 0);
    expect(log.page(first.next)).toMatchObject({ dropped: 0, next: 3, events: [{ path: '/b' }] });
    expect(log.page(3)).toEqual({ events: [], dropped: 0, next: 3 });
  });

  it('tells what nobody has: what came too fast, and what was kept no longer', () => {
    const log = new AuditLog();
    log.note(events(1, '/first'), 5);
    log.note(events(1, '/second'), 0);
    expect(log.page(0)).toMatchObject({ dropped: 5, next: 7, events: [{}, {}] });
    for (let i = 0; i < 3; i++) log.note(events(1000), 0);
    let [seen, dropped, from] = [0, 0, 0];
    for (let page = log.page(0); page.next > from; page = log.page(from)) {
      expect(page.events.length).toBeLessThanOrEqual(AUDIT_PAGE);
      seen += page.events.length;
      dropped += page.dropped;
      from = page.next;
    }
    expect(seen).toBeGreaterThan(1000);
    expect(seen + dropped).toBe(3007);
    expect(from).toBe(3007);
  });

  it('answers who waits as soon as there is something, when the time is over, and when it ends', async () => {
    const log = new AuditLog();
    const waiting = log.nextPage(0, 60_000);
    log.note(events(1), 0);
    expect(await waiting).toMatchObject({ next: 1, events: [{}] });
    expect(await log.nextPage(1, 1)).toMatchObject({ next: 1, events: [] });
    const ending = log.nextPage(1, 60_000);
    log.close();
    expect(await ending).toMatchObject({ events: [] });
  });

  it('bears a number that it has not got to', () => {
    const log = new AuditLog();
    log.note(events(1), 0);
    expect(log.page(99)).toEqual({ events: [], dropped: 0, next: 99 });
  });
});

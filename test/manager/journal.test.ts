import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { ChassisModel, type ChildRecord, type MountRecord } from '../../manager/chassis/chassis.js';
import { fillModel, type JournalDocument, type JournalFacts } from '../../manager/journal-format.js';
import { Journal, readJournal } from '../../manager/journal.js';
import { refusal } from './refusal.js';
import { temporaryFolders } from './temporary-folder.js';

const NO_FACTS: JournalFacts = {
  use: () => undefined,
  unplugging: [],
  ...{ managedBy: undefined, firstQueueTag: undefined, apiSocket: undefined },
};
const terms = { readOnly: false };
const place = (slot: number, fn = 0) => ({ slot, function: fn, permanent: false, port: 'auto' as const });
const mount = (tag: string, slot: number, fn = 0): MountRecord => ({
  ...{ tag, source: { type: 'directory', path: '/src' }, ...terms },
  ...place(slot, fn),
});
const child = (tag: string): ChildRecord => ({
  tag,
  source: { type: 'memory' },
  target: undefined,
  ...terms,
});

describe('a journal', () => {
  const folder = temporaryFolders();
  let directory: string;
  let path: string;
  let journal: Journal;
  let model: ChassisModel;

  beforeEach(() => {
    directory = folder();
    path = join(directory, 'journal.json');
    journal = new Journal(path, 'dev');
    model = new ChassisModel(8);
  });

  function read(): JournalDocument {
    const document = readJournal(path, 'dev');
    if (!document) throw new Error('there is none');
    return document;
  }

  /** What the next daemon would have. */
  function reread(): ChassisModel {
    const document = read();
    const next = new ChassisModel(document.slots);
    fillModel(next, document);
    return next;
  }

  const broken = (reason: RegExp) => refusal('JOURNAL_UNREADABLE', reason, /chassis remove dev --force/);

  it('has all that was asked for, to the last term', () => {
    const policy = { deny: ['**/.env'], maxBytes: 5 };
    const owner = { type: 'mapped' } as const;
    const overlay = { type: 'kept', path: '/upper' } as const;
    const devices = [
      { ...mount('a', 1), readOnly: true, policy, owner, overlay, revoked: true as const, managedBy: 'me' },
      { ...mount('b', 1, 1), kept: true },
      { ...mount('chassis', 2), source: { type: 'tree' as const }, tree: true },
      { ...mount('queues', 3), source: { type: 'queues' as const }, mux: true },
      {
        ...{ tag: 'd', readOnly: false, ...place(4) },
        disk: {
          ...{ source: { type: 'memory' as const, sizeBytes: 8192 }, overlay: true },
          ...{ overlayDirectory: '/changes', serial: 'd', queues: 3, overlayBytes: 16384 },
        },
      },
      {
        ...{ tag: 'n', ...place(5) },
        card: {
          network: { type: 'switch' as const, switch: 'lan', vlan: 2, isolated: true, macLock: false },
          ...{ mac: '52:54:00:00:00:01', mtu: 9000, queuePairs: 2, up: false },
        },
      },
    ];
    for (const slot of [1, 2, 3, 4, 5]) model.attach(devices.filter((device) => device.slot === slot));
    model.children.set('t', { ...child('t'), target: '/work', watch: true, policy });
    model.seats.set('q', { tag: 'q', source: { type: 'memory' }, ...terms, queue: 3 });
    model.changing.add('t');
    const use = { port: 'vhost-user', msix: true, reason: 'because' } as const;
    const facts = { managedBy: 'me', firstQueueTag: 'first', apiSocket: '/ch.sock' };
    journal.write(model, { use: () => use, unplugging: [1], ...facts });
    const next = reread();
    expect(next.devices()).toEqual(devices);
    expect([...next.children.values()]).toEqual([...model.children.values()]);
    expect([...next.seats.values()]).toEqual([...model.seats.values()]);
    expect([...next.changing]).toEqual(['t']);
    expect(read()).toMatchObject({ unplugging: [1], ...facts });
    expect(read().devices.map((device) => device.use)).toEqual(devices.map(() => use));
  });

  it('is its owner’s alone, and nothing else is left beside it', () => {
    writeFileSync(`${path}.new`, '{"half');
    journal.write(model, NO_FACTS);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual(['journal.json']);
    expect(read().devices).toEqual([]);
  });

  it('does not follow a link that somebody put in its way', () => {
    const victim = join(directory, 'victim');
    writeFileSync(victim, 'kept');
    symlinkSync(victim, `${path}.new`);
    journal.write(model, NO_FACTS);
    expect(readFileSync(victim, 'utf8')).toBe('kept');
    expect(statSync(path).isFile()).toBe(true);
  });

  it('follows each change of a child’s terms', () => {
    model.attach([{ ...mount('chassis', 2), source: { type: 'tree' }, tree: true }]);
    const records = [child('t'), child('u')];
    for (const record of records) model.children.set(record.tag, record);
    journal.write(model, NO_FACTS);
    model.setTerms(records[0], { readOnly: true });
    model.setTerms(records[1], { policy: { maxFiles: 1 } });
    journal.write(model, NO_FACTS);
    expect(reread().children.get('t')).toMatchObject({ readOnly: true });
    expect(reread().children.get('u')).toMatchObject({ policy: { maxFiles: 1 } });
    model.setTerms(records[0], { revoked: true });
    journal.write(model, NO_FACTS);
    expect(reread().children.get('t')).toMatchObject({ revoked: true });
  });

  it('says that it cannot be written, and keeps what it had', () => {
    journal.write(model, NO_FACTS);
    mkdirSync(`${path}.new`);
    model.attach([mount('a', 1)]);
    expect(() => journal.write(model, NO_FACTS)).toThrow(/cannot note this in .*journal\.json/);
    expect(read().devices).toEqual([]);
  });

  it('is not changed once it is closed, nor comes back once it is removed', () => {
    journal.write(model, NO_FACTS);
    journal.close();
    model.attach([mount('a', 1)]);
    journal.write(model, NO_FACTS);
    expect(read().devices).toEqual([]);
    journal.remove();
    journal.write(model, NO_FACTS);
    expect(existsSync(path)).toBe(false);
    expect(readJournal(path, 'dev')).toBeUndefined();
  });

  it.each([
    ['nothing', '', /JSON/],
    ['half a document', '{"version":1,"chassis":"dev","sl', /JSON/],
    ['bytes', '\0\xff\xfe'.repeat(99), /JSON/],
    ['null', 'null', /expected object/i],
    ['a number', '5', /expected object/i],
    ['another version', '{"version":2}', /it has version 2, and this daemon reads 1/],
    ['no version', '{}', /version/],
    ['deep nesting', '['.repeat(100_000), /./],
  ])('that holds %s is refused by name', (_, text, reason) => {
    writeFileSync(path, text, 'latin1');
    expect(() => read()).toThrow(expect.objectContaining(broken(reason)) as Error);
  });

  it.each<[string, (document: JournalDocument) => void, RegExp]>([
    ['that of another chassis', (document) => (document.chassis = 'other'), /that of chassis other/],
    ['of a slot that cannot be', (document) => (document.devices[0].slot = 999), /devices\/0/],
    ['of a function that cannot be', (document) => (document.devices[0].function = 8), /devices\/0/],
    ['of too many slots', (document) => (document.slots = 1e6), /slots/],
    ['without a list', (document) => delete (document as Partial<JournalDocument>).children, /children/],
  ])('%s is refused by name', (_, spoil, reason) => {
    model.attach([mount('a', 1)]);
    journal.write(model, NO_FACTS);
    const document = read();
    spoil(document);
    writeFileSync(path, JSON.stringify(document));
    expect(() => read()).toThrow(expect.objectContaining(broken(reason)) as Error);
  });

  it.each<[string, (document: JournalDocument) => void, RegExp]>([
    ['a tag twice', ({ devices }) => devices.push({ ...devices[0], slot: 2 }), /a tag is there twice/],
    [
      'a function twice',
      ({ devices }) => devices.push({ ...devices[0], tag: 'z' }),
      /function of slot 1 is there twice/,
    ],
    ['a slot beyond the last', ({ devices }) => (devices[0].slot = 9), /there is no slot 9/],
    ['children of no tree', ({ children }) => children.push({ ...child('t') }), /no tree/],
    [
      'seats of no function',
      ({ seats }) => seats.push({ tag: 'q', source: { type: 'memory' }, ...terms, queue: 0 }),
      /no function for them/,
    ],
  ])('that has %s is no chassis', (_, spoil, reason) => {
    model.attach([mount('a', 1)]);
    journal.write(model, NO_FACTS);
    const document = read();
    spoil(document);
    expect(() => fillModel(new ChassisModel(8), document)).toThrow(reason);
  });

  it('that is no file of ours is not opened for long', () => {
    symlinkSync('/etc/hostname', path);
    expect(() => read()).toThrow(expect.objectContaining(broken(/ELOOP/)) as Error);
    execFileSync('rm', [path]);
    execFileSync('mkfifo', [path]);
    expect(() => read()).toThrow(expect.objectContaining(broken(/it is no file/)) as Error);
    execFileSync('rm', [path]);
    writeFileSync(path, '');
    truncateSync(path, 2 ** 40);
    expect(() => read()).toThrow(expect.objectContaining(broken(/more than \d+ bytes/)) as Error);
  });
});

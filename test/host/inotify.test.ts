import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AT_FDCWD, Errno, Inotify, InotifyMask, openat, OpenFlags } from '../../host/index.js';
import { openDescriptors, openTemporaryDirectory, owned, temporaryDirectory } from './support.js';

const { IN_CREATE, IN_DELETE, IN_MOVED_FROM, IN_MOVED_TO, IN_IGNORED, IN_DELETE_SELF } = InotifyMask;
const ENOTDIR = 20;
const ENTRIES = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;

describe('inotify', () => {
  let inotify: Inotify;
  let before: number;

  beforeEach(() => {
    before = openDescriptors();
    inotify = new Inotify();
  });
  afterEach(() => {
    inotify.close();
  });

  function events(): string[] {
    const all: string[] = [];
    while (inotify.read((wd, mask, name) => all.push(`${wd} ${mask.toString(16)} ${name}`)));
    return all;
  }

  it('tells what happens in a directory by a descriptor of it, in order, with names as bytes', () => {
    const { path, fd } = openTemporaryDirectory();
    const wd = inotify.add(fd, ENTRIES);
    writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff, 0x41])]), '');
    writeFileSync(join(path, 'b'), '');
    renameSync(join(path, 'b'), join(path, 'c'));
    rmSync(join(path, 'c'));
    expect(events()).toEqual([`${wd} 100 \xffA`, `${wd} 100 b`, `${wd} 40 b`, `${wd} 80 c`, `${wd} 200 c`]);
    expect(events()).toEqual([]);
  });

  it('goes on with the directory wherever it is moved, and not with what takes its name', () => {
    const parent = temporaryDirectory();
    const path = join(parent, 'watched');
    mkdirSync(path);
    const fd = owned(openat(AT_FDCWD, Buffer.from(`${path}\0`), OpenFlags.O_PATH, 0));
    const wd = inotify.add(fd, ENTRIES);
    renameSync(path, join(parent, 'moved'));
    mkdirSync(path);
    writeFileSync(join(path, 'other'), '');
    writeFileSync(join(parent, 'moved', 'own'), '');
    expect(events()).toEqual([`${wd} 100 own`]);
  });

  it('gives a directory one watch, says when it is gone, and refuses what is no directory', () => {
    const { path, fd } = openTemporaryDirectory();
    const wd = inotify.add(fd, ENTRIES);
    expect(inotify.add(fd, ENTRIES | IN_DELETE_SELF)).toBe(wd);
    expect(inotify.remove(wd)).toBe(0);
    expect(events()).toEqual([`${wd} ${IN_IGNORED.toString(16)} `]);
    expect(inotify.remove(wd)).toBe(-Errno.EINVAL);
    writeFileSync(join(path, 'file'), '');
    const file = owned(openat(fd, Buffer.from('file\0'), OpenFlags.O_PATH, 0));
    expect(inotify.add(file, ENTRIES)).toBe(-ENOTDIR);
    expect(inotify.add(-1, ENTRIES)).toBeLessThan(0);
  });

  it('leaves no descriptor', () => {
    inotify.close();
    expect(openDescriptors()).toBe(before);
    inotify = new Inotify();
  });
});

import { linkSync, lstatSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Guest, type Mount } from '../../../guest/index.js';
import { Stack } from '../stack.js';

let stack: Stack;
let guest: Guest;
let mount: Mount;
let directory: string;

beforeEach(async () => {
  stack = new Stack();
  [directory] = await stack.plug(1, ['work']);
  guest = await Guest.boot(stack.machine);
  mount = await guest.mount('work');
});

afterEach(async () => {
  // Whatever a test did, and however it failed: no call leaves a fid behind but the root's.
  if (guest.functions().length > 0) expect(mount.client.fidCount).toBe(1);
  await mount.unmount();
  expect(stack.fids).toBe(0);
  await guest.shutdown();
  expect(stack.logs).toEqual([]);
  await stack.close();
});

const onHost = (path: string) => join(directory, path);
const failsWith = (code: string, syscall: string, path: string) => ({ code, syscall, path });

describe('files', () => {
  it('are written and read back, as text and as bytes', async () => {
    await mount.writeFile('a', 'häßlich');
    expect(readFileSync(onHost('a'), 'utf8')).toBe('häßlich');
    expect(await mount.readFile('a', 'utf8')).toBe('häßlich');
    expect(await mount.readFile('/a')).toEqual(new Uint8Array(readFileSync(onHost('a'))));
  });

  it('larger than a message go over in pieces', async () => {
    const data = Uint8Array.from({ length: 1_500_001 }, (_, i) => (i * 7) >> 3);
    await mount.writeFile('big', data);
    expect(Buffer.compare(readFileSync(onHost('big')), data)).toBe(0);
    expect(Buffer.compare(await mount.readFile('big'), data)).toBe(0);
  });

  it('that are empty are read as nothing', async () => {
    await mount.writeFile('empty', '');
    expect(await mount.readFile('empty')).toEqual(new Uint8Array());
  });

  it('lose what they held before when they are written', async () => {
    await mount.writeFile('a', 'a long text');
    await mount.writeFile('a', 'short');
    expect(await mount.readFile('a', 'utf8')).toBe('short');
  });

  it('are made with mode 0644, or the one asked for', async () => {
    await mount.writeFile('a', '');
    await mount.writeFile('b', '', { mode: 0o600 });
    expect([statSync(onHost('a')).mode & 0o777, statSync(onHost('b')).mode & 0o777]).toEqual([0o644, 0o600]);
  });

  it('grow at their end by appendFile', async () => {
    await mount.appendFile('log', 'one');
    await mount.appendFile('log', 'two');
    expect(await mount.readFile('log', 'utf8')).toBe('onetwo');
  });

  it('that do not exist are ENOENT, with the call and path', async () => {
    await expect(mount.readFile('no/such')).rejects.toMatchObject(failsWith('ENOENT', 'open', 'no/such'));
    await expect(mount.stat('no')).rejects.toThrow("ENOENT: no such file or directory, stat 'no'");
  });

  it('are no directories on the way to others: ENOTDIR', async () => {
    await mount.writeFile('a', '');
    await expect(mount.stat('a/b')).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(mount.stat('a/b/c')).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(mount.stat('a/..')).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it('are truncated, given modes, owners and times', async () => {
    await mount.writeFile('a', '0123456789');
    await mount.truncate('a', 4);
    await mount.chmod('a', 0o640);
    await mount.utimes('a', 1.5, new Date(1_700_000_000_123));
    const stats = await mount.stat('a');
    expect([stats.size, stats.mode & 0o7777, stats.atimeNs, stats.mtimeMs]).toEqual([
      4,
      0o640,
      1_500_000_000n,
      1_700_000_000_123,
    ]);
    expect(stats.ino).toBeTypeOf('bigint');
    expect([stats.isFile(), stats.isDirectory(), stats.isSymbolicLink()]).toEqual([true, false, false]);
  });
});

describe('handles', () => {
  it('read and write at positions, and go on where they were', async () => {
    const file = await mount.open('a', 'w+');
    await file.write('hello ');
    await file.write('world');
    await file.write('H', 0);
    const target = new Uint8Array(5);
    expect(await file.read(target, 6)).toBe(5);
    expect(new TextDecoder().decode(target)).toBe('world');
    expect(await file.read(target, 9)).toBe(2);
    await file.truncate(5);
    expect((await file.stat()).size).toBe(5);
    await file.sync();
    await file.datasync();
    await file.close();
    expect(readFileSync(onHost('a'), 'utf8')).toBe('Hello');
  });

  it('opened to append write at the end, whatever the position', async () => {
    await mount.writeFile('a', '12');
    const file = await mount.open('a', 'a');
    await file.write('3', 0);
    await mount.appendFile('a', '4');
    await file.write('5', 0);
    await file.close();
    expect(await mount.readFile('a', 'utf8')).toBe('12345');
  });

  it('that are closed are EBADF, and may be closed again', async () => {
    const file = await mount.open('a', 'w');
    await file.close();
    await file.close();
    await expect(file.write('x')).rejects.toMatchObject(failsWith('EBADF', 'write', 'a'));
  });

  it('do not create without being asked to, and exclusively only what is not there', async () => {
    await expect(mount.open('a', 'r+')).rejects.toMatchObject({ code: 'ENOENT' });
    await (await mount.open('a', 'wx')).close();
    await expect(mount.open('a', 'wx')).rejects.toMatchObject({ code: 'EEXIST' });
  });

  it('of directories are for reading only', async () => {
    await expect(mount.open('/', 'w')).rejects.toMatchObject({ code: 'EISDIR' });
    await expect(mount.readFile('/')).rejects.toMatchObject({ code: 'EISDIR' });
  });

  it('that are open are closed by unmounting', async () => {
    const file = await mount.open('a', 'w');
    await mount.unmount();
    expect(stack.fids).toBe(0);
    await expect(file.write('x')).rejects.toMatchObject({ code: 'EBADF' });
    mount = await guest.mount('work');
  });
});

describe('directories', () => {
  it('are listed without . and .., also where they take several messages', async () => {
    const names = Array.from({ length: 1000 }, (_, i) => `file-with-a-rather-long-name-${i}`);
    for (const name of names) writeFileSync(onHost(name), '');
    const small = await remount({ msize: 8192 });
    expect((await small.readdir('/')).sort()).toEqual(names.sort());
  });

  it('tell what their entries are', async () => {
    mkdirSync(onHost('d'));
    writeFileSync(onHost('f'), '');
    symlinkSync('f', onHost('l'));
    const entries = (await mount.entries('/')).sort((a, b) => (a.name < b.name ? -1 : 1));
    expect(entries.map((e) => [e.name, e.isDirectory(), e.isFile(), e.isSymbolicLink()])).toEqual([
      ['d', true, false, false],
      ['f', false, true, false],
      ['l', false, false, true],
    ]);
  });

  it('are made one by one, or with all their parents', async () => {
    await mount.mkdir('a');
    await expect(mount.mkdir('a')).rejects.toMatchObject(failsWith('EEXIST', 'mkdir', 'a'));
    await expect(mount.mkdir('x/y')).rejects.toMatchObject({ code: 'ENOENT' });
    await mount.mkdir('x/y/z', { recursive: true, mode: 0o700 });
    await mount.mkdir('x/y/z', { recursive: true });
    expect(statSync(onHost('x/y/z')).mode & 0o777).toBe(0o700);
    await mount.writeFile('x/f', '');
    await expect(mount.mkdir('x/f', { recursive: true })).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(mount.mkdir('x/f/g', { recursive: true })).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it('are removed when they are empty', async () => {
    await mount.mkdir('a/b', { recursive: true });
    await expect(mount.rmdir('a')).rejects.toMatchObject({ code: 'ENOTEMPTY' });
    await mount.rmdir('a/b');
    await mount.rm('a', { recursive: true });
    expect(await mount.readdir('/')).toEqual([]);
  });

  it('are removed with what is in them, but not with what links in them point at', async () => {
    await mount.mkdir('keep');
    await mount.writeFile('keep/me', '');
    await mount.mkdir('tree/a/b', { recursive: true });
    await mount.writeFile('tree/a/f', '');
    symlinkSync('../keep', onHost('tree/link'));
    await mount.rm('tree', { recursive: true });
    expect(await mount.readdir('/')).toEqual(['keep']);
    expect(await mount.readdir('keep')).toEqual(['me']);
  });

  it('are not removed as files', async () => {
    await mount.mkdir('a');
    await expect(mount.unlink('a')).rejects.toMatchObject({ code: 'EISDIR' });
    await expect(mount.rm('a')).rejects.toMatchObject({ code: 'EISDIR' });
    await expect(mount.rm('b')).rejects.toMatchObject(failsWith('ENOENT', 'rm', 'b'));
    await mount.rm('b', { force: true });
    await expect(mount.rm('/')).rejects.toMatchObject({ code: 'EBUSY' });
    await expect(mount.rmdir('a/..')).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('of names that are no UTF-8 work with bytes', async () => {
    const name = Uint8Array.of(0x66, 0xff, 0xfe);
    await mount.writeFile(name, 'x');
    const [entry] = await mount.entries('/');
    expect(entry.nameBytes).toEqual(name);
    expect(await mount.readFile(entry.nameBytes, 'utf8')).toBe('x');
  });
});

describe('names', () => {
  it('are changed, also across directories', async () => {
    await mount.mkdir('d');
    await mount.writeFile('a', 'x');
    await mount.rename('a', 'd/b');
    expect(await mount.readFile('d/b', 'utf8')).toBe('x');
    expect(await mount.exists('a')).toBe(false);
    await expect(mount.rename('no', 'd/c')).rejects.toMatchObject(failsWith('ENOENT', 'rename', 'no'));
  });

  it('can be several of one file', async () => {
    await mount.writeFile('a', 'x');
    await mount.link('a', 'b');
    expect((await mount.stat('b')).nlink).toBe(2);
    await mount.unlink('a');
    expect(await mount.readFile('b', 'utf8')).toBe('x');
  });

  it('more than 16 deep take several walks', async () => {
    const names = Array.from({ length: 40 }, (_, i) => `d${i}`);
    mkdirSync(onHost(names.join('/')), { recursive: true });
    writeFileSync(onHost([...names, 'f'].join('/')), 'deep');
    expect(await mount.readFile([...names, 'f'].join('/'), 'utf8')).toBe('deep');
    const path = [...names.slice(0, 30), 'nothing', 'f'].join('/');
    await expect(mount.stat(path)).rejects.toMatchObject(failsWith('ENOENT', 'stat', path));
  });
});

describe('symbolic links', () => {
  it('are made, read and looked at', async () => {
    await mount.symlink('some/where', 'l');
    expect(await mount.readlink('l')).toBe('some/where');
    expect((await mount.lstat('l')).isSymbolicLink()).toBe(true);
    await expect(mount.stat('l')).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await mount.exists('l')).toBe(false);
    await expect(mount.readlink('/')).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('are followed at the end, in the middle and several times over', async () => {
    mkdirSync(onHost('a/b'), { recursive: true });
    writeFileSync(onHost('a/b/f'), 'found');
    symlinkSync('a', onHost('la'));
    symlinkSync('b', onHost('a/lb'));
    symlinkSync('../la/lb/f', onHost('a/lf'));
    for (const path of ['la/b/f', 'la/lb/f', 'a/lf', 'la/lf']) {
      expect(await mount.readFile(path, 'utf8')).toBe('found');
    }
  });

  it('that are absolute start at the mount’s root', async () => {
    mkdirSync(onHost('etc'));
    writeFileSync(onHost('etc/passwd'), 'mine');
    symlinkSync('/etc/passwd', onHost('l'));
    expect(await mount.readFile('l', 'utf8')).toBe('mine');
  });

  it('are resolved before .. goes up from what they name', async () => {
    mkdirSync(onHost('a/b'), { recursive: true });
    writeFileSync(onHost('a/f'), 'beside');
    symlinkSync('a/b', onHost('l'));
    expect(await mount.readFile('l/../f', 'utf8')).toBe('beside');
    expect(await mount.readFile('../../a/f', 'utf8')).toBe('beside');
    await expect(mount.stat('no/../a')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('that loop are ELOOP', async () => {
    symlinkSync('b', onHost('a'));
    symlinkSync('a', onHost('b'));
    await expect(mount.stat('a')).rejects.toMatchObject(failsWith('ELOOP', 'stat', 'a'));
    await expect(mount.open('a', 0o400000)).rejects.toMatchObject({ code: 'ELOOP' });
  });

  it('that dangle are where a file is made, except exclusively', async () => {
    mkdirSync(onHost('d'));
    symlinkSync('d/new', onHost('l'));
    await expect(mount.open('l', 'wx')).rejects.toMatchObject({ code: 'EEXIST' });
    await mount.writeFile('l', 'x');
    expect(readFileSync(onHost('d/new'), 'utf8')).toBe('x');
  });

  it('are linked, renamed and removed as themselves', async () => {
    writeFileSync(onHost('f'), '');
    symlinkSync('f', onHost('l'));
    linkSync(onHost('f'), onHost('g'));
    await mount.rename('l', 'm');
    await mount.unlink('m');
    expect((await mount.readdir('/')).sort()).toEqual(['f', 'g']);
    expect(lstatSync(onHost('f')).nlink).toBe(2);
  });
});

describe('a read-only mount', () => {
  it('refuses whatever changes something with EROFS, and reads', async () => {
    writeFileSync(onHost('f'), 'x');
    const readOnly = await remount({ readOnly: true });
    const changes = [
      readOnly.writeFile('f', ''),
      readOnly.appendFile('f', ''),
      readOnly.open('f', 'r+'),
      readOnly.mkdir('d'),
      readOnly.rm('f'),
      readOnly.unlink('f'),
      readOnly.rmdir('d'),
      readOnly.rename('f', 'g'),
      readOnly.symlink('f', 'l'),
      readOnly.link('f', 'g'),
      readOnly.truncate('f'),
      readOnly.chmod('f', 0),
      readOnly.chown('f', 0, 0),
      readOnly.utimes('f', 0, 0),
    ];
    for (const result of await Promise.allSettled(changes)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'EROFS' } });
    }
    expect(await readOnly.readFile('f', 'utf8')).toBe('x');
  });
});

describe('a mount', () => {
  it('tells what the file system has', async () => {
    const statistics = await mount.statfs();
    expect(statistics.blockSizeBytes).toBeGreaterThan(0);
    expect(statistics.nameLengthBytes).toBe(255);
  });

  it('proposes 512000 bytes, or what is asked for', async () => {
    expect(mount.client.msize).toBe(512_000);
    expect((await remount({ msize: 65_536 })).client.msize).toBe(65_536);
  });

  it('takes any number of calls at the same time', async () => {
    const names = Array.from({ length: 200 }, (_, i) => `f${i}`);
    await Promise.all(names.map((name) => mount.writeFile(name, name)));
    const texts = await Promise.all(names.map((name) => mount.readFile(name, 'utf8')));
    expect(texts).toEqual(names);
  });

  it('lets what is under way end before it is unmounted, and nothing begin after', async () => {
    const writing = mount.writeFile('a', new Uint8Array(2_000_000));
    const unmounted = mount.unmount();
    await expect(mount.stat('a')).rejects.toMatchObject(failsWith('ENOTCONN', 'stat', 'a'));
    await Promise.all([writing, unmounted]);
    expect(statSync(onHost('a')).size).toBe(2_000_000);
    expect(stack.fids).toBe(0);
    mount = await guest.mount('work');
  });

  it('does not begin what an aborted signal forbids', async () => {
    const signal = AbortSignal.abort(new Error('no'));
    await expect(mount.readFile('a', null, { signal })).rejects.toThrow('no');
    await expect(mount.mkdir('a', { signal })).rejects.toThrow('no');
    expect(await mount.readdir('/')).toEqual([]);
  });
});

async function remount(options: Parameters<Guest['mount']>[1]): Promise<Mount> {
  await mount.unmount();
  mount = await guest.mount('work', options);
  return mount;
}

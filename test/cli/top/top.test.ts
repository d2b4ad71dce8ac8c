import { EventEmitter } from 'node:events';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Screen, type Terminal } from '../../../cli/top/screen.js';
import { CHASSIS, TestDaemon } from '../../support/daemon.js';

/** A busy machine starts the command line slowly. */
describe('chassis top', { timeout: 180_000 }, () => {
  let daemon: TestDaemon;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    await daemon.json('create', 'dev');
    await daemon.json('attach', 'mem:', '--tag', 'm');
  }, 60_000);
  afterAll(async () => {
    await daemon.stop();
  });

  it('prints one table where it is not in a terminal, and the rates with --json', async () => {
    const { stdout, exitCode } = await daemon.cli('top');
    expect([exitCode, stdout.split('\n')[1]]).toEqual([
      0,
      'dev      m     mount  parked  0       0B      0B       0        0      -    -',
    ]);
    expect(await daemon.json('top', '--chassis', 'dev')).toEqual({
      rates: [expect.objectContaining({ name: 'm', kind: 'mount', requests: 0 })],
    });
    expect(await daemon.failure('top', '--chassis', 'nosuch')).toMatchObject({ code: 'NO_CHASSIS' });
  });

  it('goes on in a terminal until q is pressed, and leaves that as it was', async () => {
    // util-linux's script(1) is a terminal.
    const command = [process.execPath, CHASSIS, 'top', '--dir', daemon.directory].join(' ');
    const top = execa(
      'script',
      ['--quiet', '--return', '--command', `stty cols 80 rows 24; ${command}`, '/dev/null'],
      {
        ...{ reject: false, stripFinalNewline: false },
      },
    );
    let shown = '';
    top.stdout.on('data', (piece: Buffer) => (shown += piece.toString()));
    await expect.poll(() => shown, { timeout: 60_000 }).toMatch(/dev +m +mount[\s\S]*q quits/);
    expect(shown).toContain('REQ/S*');
    top.stdin.write('\x1b[C');
    await expect.poll(() => shown, { timeout: 60_000 }).toContain('READ/S*');
    top.stdin.write('q');
    expect((await top).exitCode).toBe(0);
    expect(shown.startsWith('\x1b[?1049h\x1b[?25l')).toBe(true);
    expect(shown.endsWith('\x1b[?25h\x1b[?1049l')).toBe(true);
  });
});

describe('the screen', () => {
  it('cuts what does not fit, clears what was there, and draws anew when the terminal changes its size', () => {
    const written: string[] = [];
    const output = Object.assign(new EventEmitter(), {
      ...{ rows: 3, columns: 4, write: (text: string) => written.push(text) },
    });
    const input = Object.assign(new EventEmitter(), {
      ...{ setRawMode: () => input, resume: () => input, pause: () => input },
    });
    const screen = new Screen({ input, output } as unknown as Terminal, () => undefined);
    screen.begin();
    screen.draw('abcdef\nghi\nxyz');
    expect(written.at(-1)).toBe('\x1b[Habcd\x1b[K\nghi\x1b[K\n\x1b[J');
    output.rows = 2;
    output.emit('resize');
    expect(written.at(-1)).toBe('\x1b[Habcd\x1b[K\n\x1b[J');
    screen.end();
    const count = written.length;
    output.emit('resize');
    expect(written).toHaveLength(count);
  });
});

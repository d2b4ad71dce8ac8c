import { execa } from 'execa';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Decompresses xz or zstd data.
 *
 * Node 20 has neither, nor need a Debian machine have their commands. But dpkg-deb knows both: a package is an `ar` archive whose
 * third member it can decompress to standard output, without caring that it is not a tar archive.
 */
export async function decompress(
  data: Uint8Array,
  format: 'xz' | 'zst',
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), 'chassis-decompress-'));
  try {
    const path = join(directory, 'data.deb');
    await writeFile(path, packageAround(data, format));
    const options = {
      encoding: 'buffer',
      maxBuffer: 2 ** 30,
      cancelSignal: signal,
      stdin: 'ignore',
    } as const;
    const { stdout } = await execa('dpkg-deb', ['--fsys-tarfile', path], options);
    return stdout;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function packageAround(data: Uint8Array, format: string): Buffer {
  const emptyTar = Buffer.alloc(1024);
  return Buffer.concat([
    Buffer.from('!<arch>\n'),
    ...arMember('debian-binary', Buffer.from('2.0\n')),
    ...arMember('control.tar', emptyTar),
    ...arMember(`data.tar.${format}`, data),
  ]);
}

/** name[16] mtime[12] uid[6] gid[6] mode[8] size[10] end[2], then the bytes, padded to an even length. */
function arMember(name: string, bytes: Uint8Array): Uint8Array[] {
  const numbers = [
    '0'.padEnd(12),
    '0'.padEnd(6),
    '0'.padEnd(6),
    '100644'.padEnd(8),
    String(bytes.length).padEnd(10),
  ];
  const header = Buffer.from(`${name.padEnd(16)}${numbers.join('')}\`\n`, 'latin1');
  return [header, bytes, Buffer.alloc(bytes.length % 2, '\n')];
}

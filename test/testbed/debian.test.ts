import { describe, expect, it } from 'vitest';
import { aptFailure } from '../../testbed/apt-failure.js';
import { mirrorFromUpdateUris } from '../../testbed/debian-mirror.js';
import { QemuUnavailableError } from '../../testbed/errors.js';
import { kernelPayload } from '../../testbed/kernel-image.js';
import { isAtLeast, parseVersion } from '../../testbed/qemu.js';

function updateLines(...uris: string[]): string {
  return uris.map((uri) => `'${uri}/InRelease' some_file 0 \n`).join('');
}

describe('the Debian mirror', () => {
  it("is found among the system's sources, past security updates and other vendors", () => {
    const lines = updateLines(
      'http://vendor.example/linux/debian/dists/bookworm',
      'http://mirror.example/debian-security/dists/bookworm-security',
      'http://mirror.example/debian/dists/bookworm',
    );
    expect(mirrorFromUpdateUris(lines)).toBe('http://mirror.example/debian');
  });

  it('may be a mirror list', () => {
    const lines = updateLines('mirror+file:/etc/apt/mirrors/debian.list/dists/trixie');
    expect(mirrorFromUpdateUris(lines)).toBe('mirror+file:/etc/apt/mirrors/debian.list');
  });

  it('is not made up where there is none', () => {
    expect(mirrorFromUpdateUris(updateLines('http://archive.example/ubuntu/dists/noble'))).toBeUndefined();
    expect(mirrorFromUpdateUris(updateLines('cdrom:[Debian 12]/debian/dists/bookworm'))).toBeUndefined();
    expect(mirrorFromUpdateUris('')).toBeUndefined();
  });
});

describe('a failure of apt', () => {
  it.each([
    ['ENOENT', '', 'NO_APT'],
    [undefined, "E: Failed to fetch x  Temporary failure resolving 'x'", 'NO_NETWORK'],
    [undefined, 'E: Failed to fetch x  Could not connect to x:80', 'NO_NETWORK'],
    [
      undefined,
      "W: GPG error: x: The following signatures couldn't be verified: NO_PUBKEY 0E98404D386FA1D9",
      'NO_KEYRING',
    ],
    [undefined, 'E: Unable to locate package qemu', 'APT_FAILED'],
  ] as const)('%s %s is %s', (code, stderr, expected) => {
    const error = aptFailure(code, stderr, new Error('apt-get'));
    expect(error).toBeInstanceOf(QemuUnavailableError);
    expect(error.code).toBe(expected);
    expect(error.message).toContain(stderr);
  });
});

describe("QEMU's version", () => {
  it('is read from the first line', () => {
    expect(parseVersion('QEMU emulator version 11.1.3 (Debian 1:11.1.3)\nCopyright')).toEqual([11, 1, 3]);
    expect(parseVersion('sh: not found')).toBeUndefined();
  });

  it('is compared number by number', () => {
    expect(isAtLeast([10, 1, 0], [10, 1, 0])).toBe(true);
    expect(isAtLeast([11, 0, 0], [10, 1, 0])).toBe(true);
    expect(isAtLeast([10, 0, 9], [10, 1, 0])).toBe(false);
    expect(isAtLeast([9, 2, 5], [10, 1, 0])).toBe(false);
  });
});

describe("a kernel image's payload", () => {
  const xz = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2]);

  /** The boot protocol's header: one setup sector beside the first, the payload 16 bytes into what follows. */
  function bzImage(payload: Buffer, version = 0x020f): Buffer {
    const image = Buffer.alloc(1024 + 16 + payload.length + 4);
    image[0x1f1] = 1;
    image.write('HdrS', 0x202);
    image.writeUInt16LE(version, 0x206);
    image.writeUInt32LE(16, 0x248);
    image.writeUInt32LE(payload.length + 4, 0x24c);
    image.set(payload, 1040);
    return image;
  }

  it('is found without the length that follows it', () => {
    expect(kernelPayload(bzImage(xz))).toEqual({ format: 'xz', data: xz });
  });

  it('is left alone in a format, or a boot protocol, that is not known', () => {
    expect(kernelPayload(bzImage(Buffer.from('BZh91AY&')))).toBeUndefined();
    expect(kernelPayload(bzImage(xz, 0x0207))).toBeUndefined();
    expect(kernelPayload(Buffer.from('not a kernel'))).toBeUndefined();
  });
});

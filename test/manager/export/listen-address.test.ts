import { describe, expect, it } from 'vitest';
import { addressText, parseListenAddress, resolveAddress } from '../../../manager/export/listen-address.js';

describe('an address to listen on', () => {
  it.each([
    ['unix:/run/x.sock', { family: 'unix', path: '/run/x.sock' }],
    ['unix:/run/a:b', { family: 'unix', path: '/run/a:b' }],
    ['tcp:127.0.0.1:564', { family: 'tcp', host: '127.0.0.1', port: 564 }],
    ['tcp:localhost:0', { family: 'tcp', host: 'localhost', port: 0 }],
    ['tcp:[::1]:65535', { family: 'tcp', host: '::1', port: 65_535 }],
  ])('%s is understood, and written the same', (text, address) => {
    expect(parseListenAddress(text)).toEqual(address);
    expect(addressText(parseListenAddress(text))).toBe(text);
  });

  it.each([
    '',
    'unix:',
    'unix:/a\0b',
    '/run/x.sock',
    'tcp:',
    'tcp:564',
    'tcp::564',
    'tcp:host:',
    'tcp:host:65536',
    'tcp:::1:564',
    'tcp:host:0x10',
    'udp:host:1',
  ])('%j is refused, and the refusal says how to write one', (text) => {
    expect(() => parseListenAddress(text)).toThrow(
      expect.objectContaining({
        code: 'BAD_REQUEST',
        suggestion: expect.stringContaining('tcp:HOST:PORT') as string,
      }),
    );
  });

  it.each(['127.0.0.1', '127.1.2.3', '::1', 'localhost'])(
    'of this machine alone, %s, is taken',
    async (host) => {
      expect(await resolveAddress({ family: 'tcp', host, port: 1 }, false)).toMatchObject({ port: 1 });
    },
  );

  it.each(['0.0.0.0', '::', '192.0.2.1', '::ffff:127.0.0.1', '127.0.0.1.example.invalid'])(
    'that others may reach, %s, is not, unless that is asked for',
    async (host) => {
      await expect(resolveAddress({ family: 'tcp', host, port: 1 }, false)).rejects.toMatchObject({
        code: 'BAD_REQUEST',
      });
    },
  );

  it('that others may reach is taken where that is asked for', async () => {
    const address = { family: 'tcp', host: '0.0.0.0', port: 1 } as const;
    expect(await resolveAddress(address, true)).toEqual(address);
  });
});

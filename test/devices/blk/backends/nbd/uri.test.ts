import { describe, expect, it } from 'vitest';
import { BlockBackendError } from '../../../../../devices/blk/backends/errors.js';
import { parseNbdUri } from '../../../../../devices/blk/backends/nbd/uri.js';

const refusal = (uri: string): BlockBackendError => {
  try {
    parseNbdUri(uri);
  } catch (error) {
    if (error instanceof BlockBackendError) return error;
    throw error;
  }
  throw new Error(`${uri} was accepted`);
};

describe('an NBD URI', () => {
  it.each([
    'nbd',
    '',
    'disk.img',
    'http://host/x',
    'nbd:///export',
    'nbd://host/%zz',
    'nbd://host/%00',
    'nbd://host:99999/',
    'nbd://host/x?socket=/a',
    'nbd+unix:///x',
    'nbd+unix:///x?socket=',
    'nbd+unix:///x?socket=%00abstract',
    'nbd+unix://host/x?socket=/a',
    'nbd+unix:///x?socket=/a&mode=fast',
    'nbd+unix:///x?socket=%E0%A4%A',
    `nbd://host/${'x'.repeat(4097)}`,
  ])('is refused as %j', (uri) => {
    expect(refusal(uri).code).toBe('URI_INVALID');
  });

  it.each(['nbds://host/x', 'nbds+unix:///x?socket=/a', 'nbd+unix:///x?socket=/a&tls-type=psk'])(
    'is refused as %j, which asks for encryption',
    (uri) => {
      expect(refusal(uri)).toMatchObject({ code: 'NOT_SUPPORTED' });
    },
  );

  it.each([
    ['nbd://example.com/disk', { host: 'example.com', port: 10809 }, 'disk'],
    ['nbd://example.com', { host: 'example.com', port: 10809 }, ''],
    ['nbd://example.com/', { host: 'example.com', port: 10809 }, ''],
    ['nbd://example.com//disk', { host: 'example.com', port: 10809 }, '/disk'],
    ['nbd://example.com/hello%20world', { host: 'example.com', port: 10809 }, 'hello world'],
    ['nbd://127.0.0.1:1234/x', { host: '127.0.0.1', port: 1234 }, 'x'],
    ['nbd://[::1]:1234/x', { host: '::1', port: 1234 }, 'x'],
    ['nbd+unix:///disk?socket=/run/nbd.sock', { path: '/run/nbd.sock' }, 'disk'],
    ['nbd+unix:///?socket=/run/a+b%20c', { path: '/run/a+b c' }, ''],
    ['nbd+unix:///%C3%BC?socket=relative', { path: 'relative' }, 'ü'],
  ])('%s is a server and an export', (uri, server, exportName) => {
    expect(parseNbdUri(uri)).toEqual({ server, exportName });
  });
});

import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  defaultDiskName,
  diskSourceOf,
  diskSourceText,
  parseDiskSource,
} from '../../cli/support/disk-source.js';
import { parseSize, sizeText } from '../../cli/support/size.js';

describe('a size', () => {
  it.each([
    ['512', 512],
    ['1K', 1024],
    ['512M', 2 ** 29],
    ['10g', 10 * 2 ** 30],
    ['2TiB', 2 ** 41],
  ])('%s is %d bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each(['', '0', '-1', '1.5G', '1000', '10 G', '10GB', '1P', 'G', '0x200', '99999999999G', '1e9'])(
    '%j is none',
    (text) => {
      expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'SIZE_INVALID' }));
    },
  );

  it.each([
    [0, '0'],
    [512, '512'],
    [1536, '1.5K'],
    [10 * 2 ** 30, '10G'],
    [2 ** 52, '4096T'],
  ])('%d is shown as %s', (bytes, text) => expect(sizeText(bytes)).toBe(text));
});

describe('what a disk is kept in', () => {
  it.each([
    ['mem:4M', { type: 'memory', sizeBytes: 2 ** 22 }],
    ['nbd://host/export', { type: 'nbd', uri: 'nbd://host/export' }],
    ['nbd:nbd://host/export', { type: 'nbd', uri: 'nbd://host/export' }],
    ['nbd+unix:///?socket=/s', { type: 'nbd', uri: 'nbd+unix:///?socket=/s' }],
    ['nbd:nbd+unix:///?socket=/s', { type: 'nbd', uri: 'nbd+unix:///?socket=/s' }],
    ['a.img', { type: 'file', path: resolve('a.img') }],
    ['./mem:4M', { type: 'file', path: resolve('mem:4M') }],
  ])('is told by %s', (argument, source) => {
    expect(parseDiskSource(argument)).toEqual(source);
    expect(parseDiskSource(diskSourceText(parseDiskSource(argument)))).toEqual(source);
  });

  it('may be user data for cloud-init, instead of a disk', () => {
    const source = diskSourceOf(undefined, 'user-data.yaml');
    expect(source).toEqual({ type: 'cloud-init', path: resolve('user-data.yaml') });
    expect(diskSourceText(source)).toBe(`cloud-init:${resolve('user-data.yaml')}`);
    expect(defaultDiskName(source)).toBe('user-data');
    expect(diskSourceOf('mem:4M', undefined)).toEqual(parseDiskSource('mem:4M'));
  });

  it.each([
    ['nothing', undefined, undefined],
    ['both', 'a.img', 'user-data.yaml'],
  ])('is not %s', (_what, argument, cloudInit) => {
    expect(() => diskSourceOf(argument, cloudInit)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
  });

  it.each([
    ['/x/debian-13.qcow2', 'debian-13'],
    ['/x/a b (1).img', 'a-b--1-'],
    ['/x/.hidden', 'hidden'],
    ['/dev/sdb', 'sdb'],
  ])('names a disk: %s', (path, name) => expect(defaultDiskName({ type: 'file', path })).toBe(name));

  it.each(['mem:4M', 'nbd://host/export', '/'])('does not name a disk: %s', (argument) => {
    expect(() => defaultDiskName(parseDiskSource(argument))).toThrow(
      expect.objectContaining({ code: 'TAG_INVALID' }),
    );
  });
});

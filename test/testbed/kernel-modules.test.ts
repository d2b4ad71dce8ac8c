import { describe, expect, it } from 'vitest';
import {
  loadOrder,
  modprobeIndex,
  moduleName,
  readModuleInfo,
  type ModuleInfo,
} from '../../testbed/kernel-modules.js';

function info(name: string, depends: string[] = [], more: Partial<ModuleInfo> = {}): ModuleInfo {
  return { name, depends, wantsFirst: [], aliases: [], ...more };
}

function finder(...modules: ModuleInfo[]) {
  return (name: string) => modules.find((module) => module.name === name || module.aliases.includes(name));
}

/** A 64-bit little-endian ELF object with the sections "", .shstrtab and .modinfo. */
function elfWithModinfo(modinfo: string): Buffer {
  const names = Buffer.from('\0.shstrtab\0.modinfo\0');
  const body = Buffer.from(modinfo, 'latin1');
  const file = Buffer.alloc(64 + names.length + body.length + 3 * 64);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const table = 64 + names.length + body.length;
  file.set(names, 64);
  file.set(body, 64 + names.length);
  file.writeBigUInt64LE(BigInt(table), 0x28);
  file.writeUInt16LE(64, 0x3a);
  file.writeUInt16LE(3, 0x3c);
  file.writeUInt16LE(1, 0x3e);
  const section = (index: number, name: number, offset: number, size: number) => {
    file.writeUInt32LE(name, table + index * 64);
    file.writeBigUInt64LE(BigInt(offset), table + index * 64 + 0x18);
    file.writeBigUInt64LE(BigInt(size), table + index * 64 + 0x20);
  };
  section(1, 1, 64, names.length);
  section(2, 11, 64 + names.length, body.length);
  return file;
}

describe("a module's information", () => {
  it('refuses what is not a 64-bit ELF file', () => {
    expect(() => readModuleInfo('m', Buffer.alloc(0))).toThrow(RangeError);
    expect(() => readModuleInfo('m', Buffer.from('#!/bin/sh\n'.repeat(10)))).toThrow('not a 64-bit ELF file');
  });

  it('refuses a file whose section table lies outside of it', () => {
    const file = elfWithModinfo('depends=\0');
    file.writeBigUInt64LE(2n ** 40n, 0x28);
    expect(() => readModuleInfo('m', file)).toThrow(RangeError);
  });

  it('refuses a file without the section', () => {
    const file = elfWithModinfo('depends=\0');
    file.write('.modonfo', file.indexOf('.modinfo'));
    expect(() => readModuleInfo('m', file)).toThrow('no section .modinfo');
  });

  it('lists what the module needs, would like first, and answers to', () => {
    const text =
      'license=GPL\0alias=fs-ext4\0alias=ext3\0softdep=pre: crypto-crc32c  a post: late\0depends=jbd2,crc-16\0';
    expect(readModuleInfo('ext4', elfWithModinfo(text))).toEqual({
      name: 'ext4',
      depends: ['jbd2', 'crc_16'],
      wantsFirst: ['crypto-crc32c', 'a'],
      aliases: ['fs-ext4', 'ext3'],
    });
  });

  it('takes an empty dependency list for none', () => {
    expect(readModuleInfo('m', elfWithModinfo('depends=\0')).depends).toEqual([]);
  });

  it('names a module as the kernel does', () => {
    expect(['virtio-rng.ko', 'virtio-rng.ko.xz', '9p.ko'].map(moduleName)).toEqual([
      'virtio_rng',
      'virtio_rng',
      '9p',
    ]);
  });
});

describe('the load order', () => {
  it('puts each module after all that it needs, once', () => {
    const find = finder(
      info('pci', ['ring', 'core']),
      info('ring', ['core']),
      info('core'),
      info('blk', ['ring']),
    );
    expect(loadOrder(['pci', 'blk'], find).map(({ name }) => name)).toEqual(['core', 'ring', 'pci', 'blk']);
  });

  it('loads what a module would like first, found by its alias, and does without it where it is missing', () => {
    const crc = info('crc32c_generic', [], { aliases: ['crypto-crc32c'] });
    const ext4 = info('ext4', [], { wantsFirst: ['crypto-crc32c', 'built-in'] });
    expect(loadOrder(['ext4'], finder(ext4, crc)).map(({ name }) => name)).toEqual([
      'crc32c_generic',
      'ext4',
    ]);
  });

  it('refuses a module whose dependency is missing, naming both', () => {
    expect(() => loadOrder(['9p'], finder(info('9p', ['netfs'])))).toThrow('netfs, needed by 9p, is missing');
    expect(() => loadOrder(['9p'], finder())).toThrow('9p, needed by the testbed, is missing');
  });

  it('ends for modules that need each other', () => {
    const find = finder(info('a', ['b']), info('b', ['a']));
    expect(loadOrder(['a'], find).map(({ name }) => name)).toEqual(['b', 'a']);
  });
});

describe("modprobe's index", () => {
  it('lists needs from the module downwards, the way modprobe reads them, and the aliases', () => {
    const modules = [info('pci', ['ring'], { aliases: ['pci:v*'] }), info('ring', ['core']), info('core')];
    expect(modprobeIndex(modules)).toEqual({
      dep: 'pci.ko: ring.ko core.ko\nring.ko: core.ko\ncore.ko:\n',
      alias: 'alias pci:v* pci\n',
    });
  });
});

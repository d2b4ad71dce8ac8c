import { describe, expect, it } from 'vitest';
import { systemdUnit, udevRule } from '../../../../../devices/9p/fs/mount-tree/guest-setup.js';

describe('the udev rule', () => {
  it('wants the unit of the tag that it looks for', () => {
    const rule = udevRule('my-tree.1');
    expect(rule).toContain('ATTR{mount_tag}=="my-tree.1"');
    expect(rule).toContain('ENV{SYSTEMD_WANTS}+="chassis-tree@my-tree.1.service"');
    expect(rule.trimEnd().split('\n')).toHaveLength(3);
  });

  it.each(['', 'a b', 'a"', 'a/b', 'a\n', 'é', 'a%i', '*', '..', '-o'])('refuses the tag %o', (tag) => {
    expect(() => udevRule(tag)).toThrow(RangeError);
  });
});

describe('the systemd unit', () => {
  it('mounts the tag without a cache, once, and runs the helper that is in it', () => {
    const unit = systemdUnit({ exec: false });
    expect(unit).toContain('cache=none %i /run/chassis/%i');
    expect(unit).toContain('ExecStart=/bin/sh /run/chassis/%i/ctl/helper.sh /run/chassis/%i\n');
  });

  it('lets the host run commands only where that is asked for', () => {
    expect(systemdUnit({ exec: false })).not.toContain('--exec');
    expect(systemdUnit({ exec: true })).toContain('helper.sh --exec /run/chassis/%i\n');
  });
});

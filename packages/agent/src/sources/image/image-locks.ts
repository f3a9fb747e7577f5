// Whether a program holds an image open for writing: QEMU takes a lock on what it has opened.
//
// Pure: /proc/locks in, an answer out. "1: OFDLCK ADVISORY  READ -1 fd:01:1054732 100 101".

/** `device` and `inode` as stat gives them. */
export function isLocked(procLocks: string, device: { readonly major: number; readonly minor: number }, inode: number) {
  const place = `${hex(device.major)}:${hex(device.minor)}:${inode}`;
  return procLocks.split('\n').some((line) => line.split(/\s+/).includes(place));
}

/** glibc's gnu_dev_major and gnu_dev_minor, for device numbers below 2^32. */
export function deviceOf(dev: number): { readonly major: number; readonly minor: number } {
  return { major: (dev >>> 8) & 0xfff, minor: (dev & 0xff) | ((dev >>> 12) & 0xfff00) };
}

function hex(value: number): string {
  return value.toString(16).padStart(2, '0');
}

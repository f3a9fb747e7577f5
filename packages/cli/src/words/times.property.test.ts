import fc from 'fast-check';
import { formatTime, parseTime } from './times.ts';

describe('times, for any time and zone', () => {
  it('what is printed is read back as the same second', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1000, max: 4_102_444_800_000 }),
        fc.integer({ min: -14 * 60, max: 14 * 60 }),
        (ms, offset) => {
          return parseTime(formatTime(ms, offset)) === Math.floor(ms / 1000) * 1000;
        },
      ),
    );
  });
});

import { expect } from 'chai';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { randomNumbers } from '@holdfast/shared/testing/manifest-trees';
import { PageHarness } from '../testing/page-harness.ts';
import type { PageStream } from './page-stream.ts';

const MIB = 1024 * 1024;
const PAGE = 512;
const PAGES = MIB / PAGE;
/** As many pages as a relation of 3 GiB has; by its fragments as many as one of 20 GiB that changed for weeks. */
const FILE_MIB = 192;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function usedBytes(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

describe('backup/producer: memory for a page file', function () {
  this.timeout(120_000);

  it('P4 does not grow with the file, however fragmented: only node ids of the cache do', () => {
    const harness = new PageHarness(PAGE, false);
    const original = Buffer.from(seededBytes('content', MIB));
    const content = Buffer.alloc(MIB);
    const used: number[] = [];
    const version = (round: number) => (stream: PageStream) => {
      const random = randomNumbers(round);
      for (let i = 0; i < FILE_MIB; i++) {
        original.copy(content);
        for (let page = 0; page < PAGES; page++) content.writeUInt32LE(i, page * PAGE);
        for (let change = 0; change < round * 400; change++) content.writeUInt32LE(round, random(PAGES) * PAGE + 8);
        stream.write(content);
        if (i === FILE_MIB / 4 || i === FILE_MIB - 1) used.push(usedBytes());
      }
    };
    try {
      harness.write(version(0));
      harness.write(version(1));
      const [, , atQuarter, atEnd] = used;
      expect(atEnd! - atQuarter!).to.be.below(4 * MIB);
      let extents = 0;
      for (const { kind } of harness.segments()) if (kind === 'data') extents++;
      expect(extents).to.be.above(FILE_MIB * 200);
    } finally {
      harness.close();
    }
  });
});

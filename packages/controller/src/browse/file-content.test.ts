import { newEntry, type Entry, type Segment } from '@holdfast/shared/format/manifest/entry';
import { tagOf } from '@holdfast/shared/format/tag';
import { directory, statOf } from '@holdfast/shared/testing/manifest-trees';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { expect } from 'chai';

import { SealedSnapshots } from '../testing/sealed-snapshots.ts';
import { codeOf } from '../testing/vault-fixture.ts';
import { readFile } from './file-content.ts';

const REGULAR = 0o100_644;

describe('the content of one file', () => {
  let sealed: SealedSnapshots;
  let id: Buffer;
  const first = seededBytes('first', 3000);
  const second = seededBytes('second', 500);
  const whole = Buffer.concat([first.subarray(100, 2100), Buffer.alloc(1_500_000), second]);

  const regular = (path: string, segments: readonly Segment[]): Entry => {
    const size = segments.reduce((sum, { length }) => sum + length, 0);
    return newEntry(path, statOf(REGULAR, { size }), { content: { kind: 'segments', segments } });
  };
  const data = (plain: Buffer, offset: number, length: number): Segment => {
    const tag = tagOf(sealed.keys, plain.subarray(offset, offset + length));
    return { kind: 'data', chunk: sealed.chunk(plain), offset, length, tag };
  };

  beforeEach(() => {
    sealed = new SealedSnapshots();
    const segments: Segment[] = [data(first, 100, 2000), { kind: 'hole', length: 1_500_000 }, data(second, 0, 500)];
    id = sealed.build([directory(''), regular('empty', []), regular('log', segments)]);
  });

  const read = async (path: string, maxBytes = 2_000_000, domain = sealed.domain): Promise<Buffer> => {
    const parts: Buffer[] = [];
    for await (const part of readFile(sealed.deps, domain, id, path, maxBytes)) parts.push(part);
    return Buffer.concat(parts);
  };

  it('comes back as it was, holes as zeros', async () => {
    expect((await read('log')).equals(whole)).to.equal(true);
    expect(await read('empty')).to.have.length(0);
  });

  it('is refused before anything of it is read when it is larger than asked for', async () => {
    const before = sealed.read.length;
    expect(await codeOf(read('log', whole.length - 1))).to.equal('LIMIT_EXCEEDED');
    expect(sealed.read.length - before, 'record and leaf').to.equal(2);
    expect((await read('log', whole.length)).length).to.equal(whole.length);
  });

  it('is a regular file that is there, of a domain whose key the controller has', async () => {
    expect(await codeOf(read('nothing'))).to.equal('NOT_FOUND');
    expect(await codeOf(read(''))).to.equal('INVALID_ARGUMENT');
    expect(await codeOf(read('log', 10, { ...sealed.domain, id: 'another' }))).to.equal('FAILED_PRECONDITION');
  });

  it('ends with an error where a chunk is damaged or missing', async () => {
    const chunk = sealed.chunk(second).id.toString('hex');
    const envelope = sealed.objects.get(chunk)!;
    envelope[envelope.length - 1]! ^= 1;
    expect(await codeOf(read('log'))).to.equal('DAMAGED');
    sealed.objects.delete(chunk);
    expect(await codeOf(read('log'))).to.equal('NOT_FOUND');
  });
});

import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { fakeVault, type FakeVaultOptions } from '../testing/fake-vault.ts';
import { testJobDeps } from '../testing/job-deps.ts';
import { SnapshotBuilder } from '../testing/snapshot-builder.ts';
import { readSnapshotFile } from './read-file.ts';

const KIB = 1024;

describe('one file of a snapshot, read into memory', () => {
  const cut = randomBytes(300 * KIB);
  const built = new SnapshotBuilder({ chunkBytes: 128 * KIB }).build([
    { path: 'a/first', type: 'file', content: Buffer.from('beside it in the bundle') },
    { path: 'a/small', type: 'file', content: Buffer.from('what is asked for') },
    { path: 'a/cut', type: 'file', content: [cut, { kind: 'hole', length: 4 * KIB }, Buffer.from('end')] },
    { path: 'empty', type: 'file' },
  ]);

  function read(path: string, maxBytes = 1024 * KIB, options: FakeVaultOptions = {}): Promise<Buffer> {
    const { client } = fakeVault(built.objects, built.recordId, options);
    return readSnapshotFile(Buffer.from('grant'), path, maxBytes, testJobDeps(client), new AbortController().signal);
  }
  const codeOf = async (work: Promise<unknown>): Promise<string> => {
    const thrown: unknown = await work.then(() => undefined).catch((error: unknown) => error);
    return thrown instanceof HoldfastError ? thrown.code : String(thrown);
  };

  it('R1 gives what the file had: of a bundle, of several chunks with a hole, and nothing', async () => {
    expect((await read('a/small')).toString()).to.equal('what is asked for');
    expect(await read('a/cut')).to.deep.equal(Buffer.concat([cut, Buffer.alloc(4 * KIB), Buffer.from('end')]));
    expect(await read('empty')).to.have.length(0);
  });

  it('R1 refuses a chunk that is lost, and one that is another', async () => {
    const [id = '', other = ''] = built.chunksOf.get('a/cut')!;
    expect(await codeOf(read('a/cut', 1024 * KIB, { notServed: new Map([[id, 'damaged']]) }))).to.equal('DAMAGED');
    const swapped = new Map([[id, built.objects.get(other)!]]);
    expect(await codeOf(read('a/cut', 1024 * KIB, { swapped }))).to.equal('DAMAGED');
  });

  it('R2 fetches nothing of a file that is longer than was allowed', async () => {
    const vault = fakeVault(built.objects, built.recordId);
    const { signal } = new AbortController();
    const work = readSnapshotFile(Buffer.from('grant'), 'a/cut', 100 * KIB, testJobDeps(vault.client), signal);
    expect(await codeOf(work)).to.equal('LIMIT_EXCEEDED');
    const chunks = new Set(built.chunksOf.get('a/cut'));
    expect(vault.served.filter((id) => chunks.has(id))).to.deep.equal([]);
  });

  it('says so when there is no such file, or it is a directory', async () => {
    expect(await codeOf(read('a/nothing'))).to.equal('NOT_FOUND');
    expect(await codeOf(read('a'))).to.equal('NOT_FOUND');
  });
});

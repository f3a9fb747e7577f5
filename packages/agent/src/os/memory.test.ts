import { spawnSync } from 'node:child_process';
import { expect } from 'chai';

/** In a process of its own, whose allocator has nothing at hand. Prints pages that the kernel gave for 20 buffers, each freed at once. */
const SCRIPT = `
const { limitArenas, reuseFreedMemory } = await import(${JSON.stringify(new URL('./memory.ts', import.meta.url).href)});
const BUFFER = 512 * 1024;
const given = () => process.resourceUsage().minorPageFault;
const touch = () => {
  const before = given();
  for (let round = 0; round < 20; round++) Buffer.allocUnsafeSlow(BUFFER).fill(1).buffer.transfer(0);
  return given() - before;
};
limitArenas();
const held = Array.from({ length: 64 }, () => Buffer.allocUnsafeSlow(BUFFER));
touch();
const pages = [touch()];
const [endOne, endOther] = [reuseFreedMemory(), reuseFreedMemory()];
touch();
pages.push(touch());
endOne();
endOne();
pages.push(touch());
endOther();
pages.push(touch());
console.log(JSON.stringify({ pages, held: held.length }));
`;

describe('the memory of an agent', function () {
  this.timeout(30_000);

  it('of a buffer that is freed goes back to the system, but is used again while somebody asks for that', () => {
    const ran = spawnSync(process.execPath, ['--input-type=module', '-e', SCRIPT], { encoding: 'utf8' });
    expect(ran.status, ran.stderr).to.equal(0);
    const [first, both, one, none] = (JSON.parse(ran.stdout) as { pages: number[] }).pages;
    const all = (20 * 512) / 4;
    expect(first).to.be.above(all * 0.9);
    expect(both).to.be.below(all * 0.2);
    expect(one).to.be.below(all * 0.2);
    expect(none).to.be.above(all * 0.9);
  });
});

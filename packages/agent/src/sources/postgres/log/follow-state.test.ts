import { expect } from 'chai';
import { FollowState } from './follow-state.ts';

const stream = { systemIdentifier: '7', timeline: 1 };

describe('what is known of a followed log', () => {
  it('F2 claims nothing before anything was heard', () => {
    expect(new FollowState().status(0)).to.deep.equal({
      state: 'waiting',
      stream: undefined,
      stored: undefined,
      lagBytes: 0,
      lagMs: 0,
      completeToMs: 0,
      slot: undefined,
      note: '',
    });
  });

  it('F1 tells the age of the oldest commit that is not stored, by the server’s clock', () => {
    const state = new FollowState();
    state.began(stream, 100n, 100n);
    state.streaming = true;
    state.heard(200n, 1_000_000, 5000);
    state.openFirstCommitAtMs = 999_900;
    expect(state.status(5000)).to.deep.include({ state: 'following', lagBytes: 100, lagMs: 100 });
    state.cut(150n, 999_900);
    state.cut(200n, 999_990);
    state.openFirstCommitAtMs = undefined;
    expect(state.status(6000).lagMs).to.equal(1100);
    state.storedUpTo(150n, 6000);
    expect(state.status(6000)).to.deep.include({ lagBytes: 50, lagMs: 1010 });
    state.storedUpTo(200n, 6100);
    expect(state.status(9000)).to.deep.include({ lagBytes: 0, lagMs: 0 });
  });

  it('F1 counts from when the server was seen ahead, while what it wrote is not received', () => {
    const state = new FollowState();
    state.began(stream, 100n, 100n);
    state.heard(100n, 1_000_000, 0);
    expect(state.status(500).lagMs).to.equal(0);
    state.heard(500n, 1_001_000, 1000);
    state.heard(900n, 1_002_000, 2000);
    expect(state.status(4000)).to.deep.include({ state: 'waiting', lagBytes: 800, lagMs: 3000 });
    state.storedUpTo(900n, 4000);
    expect(state.status(5000).lagMs).to.equal(0);
  });

  it('F1 measures a standby, too, whose clock is not known', () => {
    const state = new FollowState();
    state.began(stream, 100n, 100n);
    state.heard(200n, undefined, 1000);
    state.cut(200n, 999_900);
    state.heard(200n, undefined, 31_000);
    expect(state.status(31_000).lagMs).to.equal(30_000);
  });

  it('F2 counts from when the server was last known, while it is not heard, or says that it is back before what is stored', () => {
    const state = new FollowState();
    state.began(stream, 100n, 100n);
    state.streaming = true;
    state.heard(100n, 1_000_000, 0);
    expect(state.status(1000).lagMs).to.equal(0);
    state.streaming = false;
    expect(state.status(40_000).lagMs, 'it was just heard').to.equal(0);
    expect(state.status(900_000).lagMs).to.equal(860_000);
    state.heard(100n, 1_900_000, 900_000);
    expect(state.status(900_000).lagMs, 'nothing was written').to.equal(0);
    state.heard(50n, 1_950_000, 950_000);
    expect(state.status(960_000).lagMs).to.equal(60_000);
  });

  it('F2 counts from its beginning where no server was reached since', () => {
    const state = new FollowState();
    expect(state.status(5000).lagMs).to.equal(0);
    state.heard(100n, 1_000_000, 6000);
    expect(state.status(905_000).lagMs).to.equal(900_000);
  });

  it('is catching up while far behind, and puts what there is to say together', () => {
    const state = new FollowState();
    state.began(stream, 0n, 0n);
    state.streaming = true;
    state.heard(17n << 20n, 1, 1);
    expect(state.status(1).state).to.equal('catching-up');
    state.notes.slot = 'a';
    state.notes.base = 'b';
    expect(state.status(1).note).to.equal('a; b');
  });
});

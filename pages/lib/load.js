// Loading: what is there, what went wrong, and whether something newer is on its way.

import { useEffect, useRef, useState } from "./view.js";

// Loads again whenever one of `inputs` changes. The latest question wins, however late an older answer comes.
export function useLoad(load, inputs) {
  const [state, set] = useState({ data: null, error: null, loading: true });
  const [round, again] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const stop = new AbortController();
    set((before) => ({ ...before, loading: true }));
    latest.current(stop.signal).then(
      (data) => stop.signal.aborted || set({ data, error: null, loading: false }),
      (error) => stop.signal.aborted || set({ data: null, error, loading: false }),
    );
    return () => stop.abort();
  }, [...inputs, round]);
  return { ...state, reload: () => again((number) => number + 1), set: (data) => set({ data, error: null, loading: false }) };
}

// Runs something at intervals while it is wanted and the page is seen.
export function useTicks(run, ms, wanted) {
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    if (!wanted) return undefined;
    const timer = setInterval(() => document.hidden || latest.current(), ms);
    return () => clearInterval(timer);
  }, [ms, wanted]);
}

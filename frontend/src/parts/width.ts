// The width of an element, followed as it changes: for what is drawn to fit.
import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

export function useWidth(box: RefObject<HTMLElement | null>, again: unknown = null): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const home = box.current;
    if (!home) return;
    const watch = new ResizeObserver(() => setWidth(home.clientWidth));
    watch.observe(home);
    return () => watch.disconnect();
  }, [again]);
  return width;
}

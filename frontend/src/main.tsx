import "uplot/dist/uPlot.min.css";
import "./style/fonts.css";
import "./style/tokens.css";
import "./style/base.css";
import "./style/shell.css";
import "./style/parts.css";
import { render } from "preact";
import { App } from "./app";
import { get, me } from "./lib/api";
import { listen } from "./lib/commands";
import { setServerZone } from "./lib/format";
import { start } from "./lib/live";
import { follow, query, set } from "./lib/route";
import type { MeAnswer } from "./lib/types";
import { box } from "./parts/search";
import { say } from "./parts/toast";

follow();
listen(() => box.value, () => query.peek().panel && set({ panel: null }));
start();
get<MeAnswer>("me").then(
  (found) => {
    setServerZone(found.zone);
    me.value = found;
  },
  (error: unknown) => say(String(error), { bad: true }),
);
render(<App />, document.getElementById("app")!);

// Search runs in a worker, which browsers refuse to pages from a file system. There a hidden frame takes its place: the
// script runs in it, and messages go to and fro by its window.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.addEventListener("load", () => {
        for (const message of this.waiting.splice(0)) this.send(message);
        this.ready = true;
      });
      document.body.append(this.frame);
      const inside = this.frame.contentDocument;
      inside.open();
      this.frame.contentWindow.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.write(`<!doctype html><script src="${new URL(url, location.href)}"></scr` + "ipt>");
      inside.close();
    }

    postMessage(message) {
      if (this.ready) this.send(message);
      else this.waiting.push(message);
    }

    send(data) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}

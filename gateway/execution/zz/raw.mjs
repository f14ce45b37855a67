import { connect } from "node:net";
export function createRaw(port){
  const free=[]; const head=`POST /graphql HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nconnection: keep-alive\r\ncontent-type: application/json\r\naccept: application/graphql-response+json, application/json\r\n`;
  function open(){ const socket=connect({port,host:"127.0.0.1",noDelay:true}); const c={socket,cb:null,buf:null};
    socket.on("data",chunk=>{ 
      let b=c.buf?Buffer.concat([c.buf,chunk]):chunk;
      const end=b.indexOf("\r\n\r\n"); if(end<0){c.buf=b;return;}
      const h=b.latin1Slice(0,end); const m=/\r\ncontent-length: *(\d+)/i.exec(h); const len=+m[1]; if(b.length<end+4+len){c.buf=b;return;} c.buf=null;
      const text=b.utf8Slice(end+4,end+4+len); const cb=c.cb; c.cb=null; free.push(c); cb(text);
    }); return c; }
  return (body)=>new Promise(res=>{ const c=free.pop()??open(); c.cb=res; c.socket.write(head+"content-length: "+Buffer.byteLength(body)+"\r\n\r\n"+body,"utf8"); });
}
